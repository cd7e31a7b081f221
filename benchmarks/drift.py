"""What Luo et al. (arXiv 2506.18588) claim of SGD and Lipschitz constants, as an experiment on scikit-learn's digits:

    OMP_NUM_THREADS=1 python -m benchmarks.drift

A CNN with circular padding, so that each layer's norm is exact, trained by plain SGD with batches drawn with
replacement; log K is the sum of the logarithms of layers' norms. Seen: the mean and the variance of a step's change
over drawn batches. Predicted: `radii.diagnostics.sgd_step`. About a minute on one core. What is a theorem (kappa >= 0,
the law 1/B) is here to hold the code; what is not (what label noise does) is here to be looked at.
"""

import copy
import itertools
import math
import time
from collections.abc import Iterator, Sequence

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from radii.diagnostics import Objective, Step, sgd_step
from radii.diagnostics.layers import layers_of

SAMPLES = 200
ETA, BATCH = 0.1, 32
LATE = 3000  # steps: labels drawn anew are learned by then
DRAWN = 400  # batches, of which what is seen is a mean


def digits(noise: float = 0.0) -> tuple[Tensor, Tensor]:
    """Images and labels, a part of which is drawn anew."""
    data = load_digits()
    x = torch.tensor(data.images[:SAMPLES, None] / 16.0)
    y = torch.tensor(data.target[:SAMPLES]).long()
    draw = torch.Generator().manual_seed(1)
    anew = torch.rand(SAMPLES, generator=draw) < noise
    return x, torch.where(anew, torch.randint(0, 10, (SAMPLES,), generator=draw), y)


def network(scale: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, padding_mode="circular"),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1, padding_mode="circular"),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    ).double()
    with torch.no_grad():
        for value in made.parameters():
            value.mul_(scale)
    return made.eval()


def trained(made: nn.Module, x: Tensor, y: Tensor, marks: Sequence[int], batch: int = BATCH) -> Iterator[nn.Module]:
    """The network after each of so many steps."""
    draw = torch.Generator().manual_seed(2)
    made = copy.deepcopy(made)
    weights = tuple(made.parameters())
    for before, after in itertools.pairwise((0, *marks)):
        for _ in range(after - before):
            chosen = torch.randint(0, len(x), (batch,), generator=draw)
            slope = torch.autograd.grad(nn.functional.cross_entropy(made(x[chosen]), y[chosen]), weights)
            with torch.no_grad():
                for weight, change in zip(weights, slope, strict=True):
                    weight.sub_(ETA * change)
        yield copy.deepcopy(made)


def log_k(made: nn.Module, x: Tensor, y: Tensor) -> float:
    return sum(math.log(layer.top.value) for layer in layers_of(Objective(made, x, y)))


def seen(made: nn.Module, x: Tensor, y: Tensor, batch: int) -> tuple[float, float, float]:
    """The mean of a step's change of log K over drawn batches, its standard error, and the variance.

    The change along the drawn gradient's slope has the mean that the full gradient has, exactly: it is taken off and
    added again, which leaves less to chance.
    """
    objective = Objective(made, x, y)
    layers, draw = layers_of(objective), torch.Generator().manual_seed(3)
    mean = objective.split(objective.gradient())
    changes, corrected = [], []
    for _ in range(DRAWN):
        part = objective.split(objective.gradient(torch.randint(0, len(x), (batch,), generator=draw)))
        change = slope = 0.0
        for layer in layers:
            change += math.log(layer.norm(layer.weight - ETA * part[layer.name])) - math.log(layer.top.value)
            slope -= ETA * layer.top.along(part[layer.name] - mean[layer.name]) / layer.top.value
        changes.append(change)
        corrected.append(change - slope)
    values, rest = torch.tensor(changes), torch.tensor(corrected)
    return float(rest.mean()), float(rest.std()) / math.sqrt(DRAWN), float(values.var())


def step(made: nn.Module, x: Tensor, y: Tensor, batch: int = BATCH) -> Step:
    return sgd_step(Objective(made, x, y), eta=ETA, batch_size=batch, batches=0)


def kappa(found: Step) -> str:
    """Of the layers whose gap allows it, the least."""
    known = [layer.kappa for layer in found.layers if layer.kappa is not None]
    return f"{min(known):9.2e} ({len(known)} of {len(found.layers)})" if known else "unknown"


def main() -> None:
    started = time.perf_counter()
    x, y = digits()
    print(f"one step of SGD (eta {ETA}, B {BATCH}): what log K does, seen over {DRAWN} batches and predicted")
    print(f"{'step':>6} {'mean seen':>22} {'predicted':>11} {'variance: seen over predicted':>30} {'least kappa':>20}")
    marks = (1, 100, 500, LATE)
    for mark, made in zip((0, *marks), (network(), *trained(network(), x, y, marks)), strict=True):
        found, (mean, error, variance) = step(made, x, y), seen(made, x, y, BATCH)
        predicted = "unknown" if found.mean is None else f"{found.mean:11.3e}"
        print(
            f"{mark:6} {mean:12.3e} ± {error:.0e} {predicted:>11} {variance / found.variance:30.3f} {kappa(found):>20}"
        )

    print("\n|lambda|^2 times B: constant, predicted; and the variance seen times B over eta^2")
    [made] = trained(network(), x, y, (100,))
    for batch in (8, 32, 128):
        found = step(made, x, y, batch)
        variance = seen(made, x, y, batch)[2]
        print(f"{batch:6} {found.lambda_squared * batch / ETA:12.4e} {variance * batch / ETA**2:12.4e}")

    print(f"\nlog K at initial scales: begin, after 100 and {LATE} steps")
    for scale in (0.5, 1.0, 2.0):
        start = network(scale)
        ends = [log_k(made, x, y) for made in (start, *trained(start, x, y, (100, LATE)))]
        print(f"{scale:6} " + " ".join(f"{value:8.3f}" for value in ends))

    print(f"\nlog K with label noise: after 30, 300 and {LATE} steps; its mu at 30; accuracy on the labels given")
    for noise in (0.0, 0.2, 0.5):
        given = digits(noise)
        early, middle, late = trained(network(), *given, (30, 300, LATE))
        mu = sum(layer.mu for layer in step(early, *given).layers)
        with torch.no_grad():
            right = float((late(given[0]).argmax(1) == given[1]).double().mean())
        values = " ".join(f"{log_k(made, *given):8.3f}" for made in (early, middle, late))
        print(f"{noise:6} {values} {mu:10.4f} {right:8.3f}")
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
