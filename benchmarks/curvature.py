"""Hessian products of the curvature report against PyHessian's (Yao et al., IEEE BigData 2020), at equal error:

    PYTHONPATH=FOLDER OMP_NUM_THREADS=1 python -m benchmarks.curvature

FOLDER: where `pip install --no-deps --target FOLDER pyhessian` put it. A small network is trained on scikit-learn's
digits, so that its whole Hessian can be written down: errors are from the truth. PyHessian finds the largest eigenvalue
by power iteration and the trace by Hutchinson's estimator, each with products of its own; the report takes one Lanczos
basis for both, and probes of what that leaves. Its products are counted where they are made.

For each size of the report: its root mean square errors over seeds, and the products that PyHessian takes for the same:
of the eigenvalue until the first iterate as near (or within 1e-6), of the trace the variance of a probe over the
squared error.
"""

import math
import statistics
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from radii.diagnostics.lanczos import Deflated, lanczos
from radii.diagnostics.objective import Objective

SIZES = ((10, 10), (20, 20), (40, 30))  # steps, probes
SEEDS = 10
PROBES = 300  # of PyHessian, for the variance of one
MOST = 1000  # iterations of its power iteration
NEAR = 1e-6  # relative: nearer an eigenvalue need not be, and PyHessian, which adds 1e-6 to norms, does not come


def trained(steps: int = 100) -> tuple[nn.Module, Tensor, Tensor]:
    data = load_digits()
    x, y = torch.tensor(data.data[:150] / 16.0), torch.tensor(data.target[:150]).long()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 10)).double()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.2, momentum=0.9)
    for _ in range(steps):
        chosen = torch.randint(0, len(x), (64,))
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(network(x[chosen]), y[chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    optimiser.zero_grad()
    return network.eval(), x, y


def rms(values: list[float]) -> float:
    return math.sqrt(statistics.fmean(value**2 for value in values))


def ours(objective: Objective, steps: int, probes: int, top: float, trace: float) -> tuple[float, float]:
    """Relative errors of the largest eigenvalue and of the trace."""
    off_top, off_trace = [], []
    for seed in range(SEEDS):
        generator = torch.Generator().manual_seed(seed)
        krylov = lanczos(objective.product, objective.size, steps, generator)
        found = Deflated(objective.product, krylov, [slice(0, objective.size)], probes, generator)
        off_top.append(krylov.extremes()[1].value / top - 1)
        off_trace.append(found.trace.value / trace - 1)
    return rms(off_top), rms(off_trace)


def iterates(peer: Any, seed: int) -> Iterator[float]:
    """What PyHessian's power iteration has for the largest eigenvalue after each product: its loop, without an end."""
    library = import_module("pyhessian.utils")
    torch.manual_seed(seed)
    vector = library.normalization([torch.randn(part.size()) for part in peer.params])
    while True:
        product = library.hessian_vector_product(peer.gradsH, peer.params, vector)
        yield library.group_product(product, vector).item()
        vector = library.normalization(product)


def iterations(peer: Any, top: float, error: float) -> float:
    """Products of power iteration until it is as near, in the median of three starts."""
    needed = []
    for seed in range(3):
        near = (
            i for i, value in enumerate(iterates(peer, seed), start=1) if abs(value / top - 1) <= error or i == MOST
        )
        needed.append(next(near))
    return statistics.median(needed)


def main() -> None:
    if find_spec("pyhessian") is None:
        sys.exit("PyHessian is not here: see the head of this file")
    warnings.simplefilter("ignore")  # PyHessian calls backward with create_graph
    torch.set_default_dtype(torch.float64)  # of the vectors that it draws
    network, x, y = trained()
    objective = Objective(network, x, y)
    values = torch.linalg.eigvalsh(objective.hessian())
    top, trace = float(values[-1]), float(values.sum())
    print(f"{objective.size} weights, lmax {top:.4g}, trace {trace:.4g}")
    peer = import_module("pyhessian").hessian(network, nn.CrossEntropyLoss(), data=(x, y), cuda=False)
    torch.manual_seed(0)
    variance = statistics.variance([float(value) for value in peer.trace(maxIter=PROBES, tol=0.0)]) / trace**2
    print(f"{'ours':>10} {'error lmax':>11} {'error trace':>12} {'PyHessian lmax':>15} {'trace':>9} {'ratio':>7}")
    for steps, probes in SIZES:
        off_top, off_trace = ours(objective, steps, probes, top, trace)
        power, hutchinson = iterations(peer, top, max(off_top, NEAR)), variance / off_trace**2
        ratio = (power + hutchinson) / (steps + probes)
        ours_are = f"{steps} + {probes}"
        print(f"{ours_are:>10} {off_top:11.1e} {off_trace:12.2e} {power:15.0f} {hutchinson:9.0f} {ratio:7.1f}")


if __name__ == "__main__":
    main()
