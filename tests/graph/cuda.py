"""The modules of the zoo on a GPU against the same on the CPU in float64.

    python -m tests.graph.cuda write FOLDER      the zoo's canonical forms (minutes); needs all that the tests need
    python -m tests.graph.cuda FOLDER [DEVICE]   the comparison, a line a network; needs torch, NumPy, SciPy (and cuda)

Of each network, on the device:

* float64: logits and input gradient within 1e-9 of the CPU's, float32 without TF32 within 1e-4, of the largest entry;
* each sample alone, by vmap, as in the batch (1e-9);
* bfloat16: at most 4 times as far from float64 as on the CPU, or 2^-6.

The exit code is 1 where one of them fails.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from radii.graph import Graph, from_canonical, to_canonical, to_module

FORM, WEIGHTS = ".json", ".safetensors"


def write(folder: Path) -> None:
    """The canonical form of one file of every network of the zoo."""
    from radii.graph import read_onnx
    from tests.graph.zoo import ZOO

    folder.mkdir(parents=True, exist_ok=True)
    for network in ZOO:
        save(folder / network.name, read_onnx(next(iter(network.files()))))


def save(path: Path, graph: Graph) -> None:
    form, weights = to_canonical(graph)
    path.with_suffix(FORM).write_bytes(form)
    path.with_suffix(WEIGHTS).write_bytes(weights)


def load(folder: Path) -> Iterator[tuple[str, Graph]]:
    for path in sorted(folder.glob("*" + FORM)):
        yield path.stem, from_canonical(path.read_bytes(), path.with_suffix(WEIGHTS).read_bytes())


def weighted(logits: Tensor) -> Tensor:
    """A sum of all logits in which none counts like another (probabilities add up to 1 whatever the input)."""
    return (logits * torch.arange(1, logits.shape[1] + 1, dtype=logits.dtype, device=logits.device)).sum()


def logits_and_gradient(module: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """And the gradient at x of their weighted sum."""
    x = x.detach().requires_grad_()
    y = module(x)
    (gradient,) = torch.autograd.grad(weighted(y), x)
    return y.detach(), gradient


def gap(found: Tensor, expected: Tensor) -> float:
    """The largest difference, against the largest entry; infinite where they are not finite alike."""
    found, expected = found.detach().double().cpu(), expected.detach().double()
    finite = expected.isfinite()
    if not found[finite].isfinite().all() or str(found[~finite]) != str(expected[~finite]):
        return float("inf")
    return float((found - expected)[finite].abs().max()) / max(float(expected[finite].abs().max()), 1e-30)


def compared(graph: Graph, device: str) -> dict[str, tuple[float, float]]:
    """Each quantity's gap, and the most that it may be."""
    x = torch.randn(3, *graph.input_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    truth, gradient = logits_and_gradient(to_module(graph, dtype=torch.float64), x)
    module = to_module(graph, dtype=torch.float64).to(device)
    there = x.to(device)
    logits, sloped = logits_and_gradient(module, there)
    rows = torch.func.vmap(lambda row: module(row[None])[0], randomness="error")(there)
    with torch.no_grad():
        single = to_module(graph).to(device)(there.float())
        halves = [to_module(graph, dtype=torch.bfloat16).to(where)(x.bfloat16().to(where)) for where in ("cpu", device)]
    coarse = gap(halves[0], truth)
    return {
        "float64": (gap(logits, truth), 1e-9),
        "gradient": (gap(sloped, gradient), 1e-9),
        "vmap": (gap(rows, truth), 1e-9),
        "float32": (gap(single, truth), 1e-4),
        "bfloat16": (gap(halves[1], truth), max(4 * coarse, 2.0**-6)),
    }


def check(folder: Path, device: str = "cuda") -> int:
    """Compare all networks of a folder, print a line for each; how many fail."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    failed = 0
    for name, graph in load(folder):
        try:
            found = compared(graph, device)
        except Exception as error:  # the others are still of interest
            failed += 1
            print(f"{name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
            continue
        over = [what for what, (distance, most) in found.items() if not distance <= most]
        failed += bool(over)
        gaps = ", ".join(f"{what} {distance:.1e}" for what, (distance, _) in found.items())
        print(f"{name}: {gaps}" + (f"; TOO FAR: {', '.join(over)}" if over else ""), flush=True)
    return failed


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", folder]:
            write(Path(folder))
        case [folder, *device] if len(device) < 2:
            failures = check(Path(folder), *device)
            print(f"{failures} networks fail")
            sys.exit(failures > 0)
        case _:
            sys.exit(__doc__)
