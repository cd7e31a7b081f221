"""The library's bounds need torch, numpy and SciPy alone."""

import subprocess
import sys

PROGRAM = """
import sys
for name in ("onnx", "onnxscript", "pydantic", "typer", "rich", "httpx"):
    sys.modules[name] = None  # importing it fails
import radii.lipschitz
print(radii.lipschitz.matrix_norm([[3.0, 0.0], [0.0, 4.0]]).upper)
import numpy as np
from radii.graph import OPERATORS, Graph, Node
rng = np.random.default_rng(0)
gemms = [OPERATORS["Gemm"](rng.standard_normal((4, 4)), None) for _ in range(2)]
nodes = [Node(gemms[0], ("a",), "b", 0), Node(OPERATORS["Relu"](), ("b",), "c", 1), Node(gemms[1], ("c",), "d", 2)]
print(radii.lipschitz.network_bound(Graph.build("a", (4,), "d", nodes)).rule)
print("sympy" in sys.modules)  # as with torch.optim and all that compiles: seconds, more than the bound itself takes
"""


def test_import_needs_no_reader_and_no_service() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    norm, rule, slow = done.stdout.split()
    assert 4 <= float(norm) <= 4.00001
    assert (rule, slow) == ("eclipse", "False")
