"""Write the generated table of docs/networks.md anew, and say how far its networks are from onnxruntime (minutes)."""

from tests.graph.zoo import ZOO
from tests.graph.zoo.compare import compared
from tests.graph.zoo.table import HEAD, MARK, PAGE, row

rows, worst = [], 0.0
for network in sorted(ZOO, key=lambda network: (network.family.lower(), network.name)):
    pairs = compared(network)
    rows.append(row(network, [graph for graph, _ in pairs]))
    worst = max(worst, *(gap for _, gap in pairs))
PAGE.write_text(PAGE.read_text().partition(MARK)[0] + HEAD + "\n".join(rows) + "\n")
print(f"{len(rows)} networks of {len({network.family for network in ZOO})} families, worst difference {worst:.1e}")
