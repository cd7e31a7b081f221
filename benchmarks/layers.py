"""Layers and losses to train for certificates with, at equal time, in one run, on one thread:

    OMP_NUM_THREADS=1 python -m benchmarks.layers [--seconds 15]

Every network sees the digits example's images, 64 values in, four layers of width 64 (a lift, two of the kind, ten
logits), trained for the same CPU seconds, exported, and certified by ``network_bound`` from the file alone, whoever
wrote its layers:

* ours: SLL, CPL, AOL, Cayley, SOC, with sorting activations between the linear ones; their steps are those of the
paper; * peers, where they are installed: ``orthogonium`` (OrthoLinear) and ``deel-torchlip`` (SpectralLinear);
* LMT: an ordinary network trained with the margin of its own bound (Tsuzuku et al., NeurIPS 2018);
* smoothing: the same network trained under noise, sigma 0.25, certified with n = 10,000, the first 100 images alone.

``bound`` is what is proved, ``slope`` the largest slope that a Jacobian at a test image has: no bound is below it.

Then ``spectral_norm`` against ``torch.linalg.matrix_norm`` (largest singular value), forward and backward in float32,
and what penalising every layer's norm costs a training step of two CNNs. Seconds are CPU time, the
least of interleaved repeats.
"""

import argparse
import importlib
import importlib.util
import math
import os
import runpy
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.lipschitz import best
from radii.graph import Graph, read_onnx, to_module
from radii.layers import AOL, CPL, SLL, SOC, Cayley, MaxMin, plain
from radii.lipschitz import margin_radius, network_bound
from radii.smoothing import certify, gaussian, input_digest, noise_key
from radii.training import (
    LayerNorms,
    lmt_margin,
    margin_cross_entropy,
    noisy,
    noisy_cross_entropy,
    spectral_norm,
    spectral_penalty,
)
from tests.graph.export import export

DIGITS = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "digits" / "train.py"))  # its data, its CNN
WIDTH = 64
BATCH = 128
LEARNING_RATE = 5e-3
RADII = 0.25, 0.5, 0.75
TARGET = 0.64  # the radius that losses ask for
SIGMA = 0.25
SMOOTHED = 100
CPU = torch.device("cpu")

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def linear(layer: Callable[[int, int], nn.Module]) -> nn.Module:
    """Four linear layers with sorting between them."""
    inner = [part for _ in range(3) for part in (layer(WIDTH, WIDTH), MaxMin())]
    return nn.Sequential(nn.Flatten(), *inner, layer(WIDTH, 10))


def residual(layer: Callable[[int], nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Flatten(), *(layer(WIDTH) for _ in range(3)), Cayley(WIDTH, 10))


def ordinary() -> nn.Module:
    inner = [part for _ in range(3) for part in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    network = nn.Sequential(nn.Flatten(), *inner, nn.Linear(WIDTH, 10))
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight)
    return network


def skew(inputs: int, outputs: int) -> nn.Module:
    return SOC(inputs) if inputs == outputs else Cayley(inputs, outputs)


def margins(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    margin = lmt_margin(TARGET, 1.0)
    return margin_cross_entropy(network(x), y, margin=margin, temperature=0.1)


def lmt(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """With logits over the bound, so that their scale wins nothing."""
    lipschitz = LayerNorms(network, x)().prod()
    return margin_cross_entropy(network(x) / lipschitz, y, margin=lmt_margin(TARGET, 1.0), temperature=0.1)


def under_noise(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return noisy_cross_entropy(network(noisy(x, SIGMA, copies=4).flatten(0, 1)).unflatten(0, (4, -1)), y)


def kinds() -> Iterator[tuple[str, Callable[[], nn.Module], Loss]]:
    """Name, network and loss of each."""
    yield "SLL", lambda: residual(SLL), margins
    yield "CPL", lambda: residual(CPL), margins
    yield "AOL", lambda: linear(AOL), margins
    yield "Cayley", lambda: linear(Cayley), margins
    yield "SOC", lambda: linear(skew), margins
    if importlib.util.find_spec("orthogonium"):
        orthogonal = importlib.import_module("orthogonium.layers").OrthoLinear
        yield "orthogonium", lambda: linear(orthogonal), margins
    if importlib.util.find_spec("deel"):
        spectral = importlib.import_module("deel.torchlip").SpectralLinear
        yield "deel-torchlip", lambda: linear(spectral), margins
    yield "LMT", ordinary, lmt
    yield "smoothing", ordinary, under_noise


def train(network: nn.Module, loss: Loss, x: Tensor, y: Tensor, seconds: float) -> float:
    """For so many CPU seconds, at a rate that falls to 0; the seconds of an epoch."""
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    start, epochs = time.process_time(), 0.0
    while (spent := time.process_time() - start) < seconds:
        for rows in torch.split(torch.randperm(len(x)), BATCH):
            done = min(1.0, (time.process_time() - start) / seconds)
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * min(1.0, 10 * done + 0.04) * (1 + math.cos(math.pi * done)) / 2
            optimizer.zero_grad()
            torch.autograd.backward(loss(network, x[rows], y[rows]))
            optimizer.step()
        epochs += 1
    return spent / epochs


def without_parametrizations(network: nn.Module) -> nn.Module:
    """Peers' layers with weights of their own."""
    for layer in network.modules():
        if nn.utils.parametrize.is_parametrized(layer):
            for name in list(layer.parametrizations):  # type: ignore[arg-type]
                nn.utils.parametrize.remove_parametrizations(layer, name)
    return network


def smoothed(graph: Graph, images: Tensor) -> list[tuple[int | None, float]]:
    module, noise, made = to_module(graph), gaussian(SIGMA), []
    for image in images:
        digest = input_digest(image.numpy())
        key = noise_key(bytes(32), model_digest=graph.digest, input_digest=digest, noise=noise.name, sigma=SIGMA)
        made.append(certify(module, image, num_classes=10, noise=noise, alpha=0.001, n0=100, n=10_000, key=key))
    return [(result.prediction, result.radius or 0.0) for result in made]


def steepest(network: nn.Module, images: Tensor) -> float:
    """The largest singular value of the Jacobians at these images."""
    jacobians = torch.func.vmap(torch.func.jacrev(lambda x: network(x[None])[0]))(images.double())
    return float(torch.linalg.svdvals(jacobians.flatten(2)).max())


def layers(seconds: float) -> None:
    train_x, train_y, test_x, test_y = DIGITS["data"]()
    columns = "".join(f"{f'r={radius}':>8}" for radius in RADII)
    print(f"{'':14}{'clean':>8}{columns}{'s/epoch':>9}{'bound':>14}{'slope':>9}   ({seconds:g} s each)")
    for name, build, loss in kinds():
        torch.manual_seed(0)
        network = build()
        epoch = train(network, loss, train_x, train_y, seconds)
        exported = plain(without_parametrizations(network), test_x)
        graph = read_onnx(export(exported, (1, 8, 8), dynamo=True, opset=20, dynamic=True))
        bound = network_bound(graph)
        x, y = (test_x[:SMOOTHED], test_y[:SMOOTHED]) if name == "smoothing" else (test_x, test_y)
        if name == "smoothing":
            results = smoothed(graph, x)
        else:
            found = margin_radius(bound.logits(x), bound, norms=x.double().flatten(1).norm(dim=1))
            results = [(margin.prediction, margin.radius or 0.0) for margin in found]
        clean = float((bound.logits(x).argmax(1) == y).double().mean())
        right = [
            np.mean([p == int(label) and r >= radius for (p, r), label in zip(results, y, strict=True)])
            for radius in RADII
        ]
        slope = steepest(to_module(graph, dtype=torch.float64), test_x[:50])
        shares = "".join(f"{share:8.3f}" for share in right)
        print(f"{name:14}{clean:8.3f}{shares}{epoch:9.3f}{bound.upper:14.9f}{slope:9.4f}", flush=True)


def gradients(norm: Callable[[Tensor], Tensor], weight: Tensor) -> Callable[[], object]:
    return lambda: torch.autograd.grad(norm(weight), weight)


def blocks_norm(kernel: Tensor, torus: tuple[int, int]) -> Tensor:
    """The largest singular value of the Fourier blocks of half of the frequencies."""
    made = torch.fft.rfftn(kernel, s=torus, dim=(-2, -1)).flatten(2).permute(2, 0, 1)
    norms: Tensor = torch.linalg.matrix_norm(made, 2)
    return norms.amax()


def norms() -> None:
    print(f"\n{'spectral_norm':28}{'peer s':>10}{'ours s':>10}{'ratio':>8}{'off by':>10}")
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(512, 512, generator=generator).requires_grad_()
    kernel = torch.randn(64, 64, 3, 3, generator=generator).requires_grad_()
    cases: list[tuple[str, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], Tensor]] = [
        ("512x512", lambda w: torch.linalg.matrix_norm(w, 2), spectral_norm, dense),
        (
            "64x64x3x3, 32x32 pixels",
            lambda w: blocks_norm(w, (33, 33)),
            lambda w: spectral_norm(w, torus=(33, 33)),
            kernel,
        ),
    ]
    for name, peer, ours, weight in cases:
        theirs, own = best(gradients(peer, weight), gradients(ours, weight), device=CPU)
        off = float((ours(weight) / peer(weight)).detach()) - 1
        print(f"{name:28}{theirs:10.4f}{own:10.4f}{theirs / own:8.1f}{off:10.1e}", flush=True)


def small_cnn() -> nn.Module:
    """For images of 32x32 pixels."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4096, 10),
    )


def step(name: str, network: nn.Module, x: Tensor) -> None:
    y = torch.arange(len(x)) % 10
    penalty = LayerNorms(network, x)

    def once(*, penalised: bool) -> None:
        loss = nn.functional.cross_entropy(network(x), y)
        if penalised:
            loss = loss + 1e-3 * spectral_penalty(penalty())
        torch.autograd.grad(loss, list(network.parameters()))

    bare, with_penalty = best(lambda: once(penalised=False), lambda: once(penalised=True), device=CPU, repeats=20)
    print(f"{name:44}{bare * 1e3:8.1f}{with_penalty * 1e3:8.1f}{with_penalty / bare:8.2f}")


def steps() -> None:
    print(f"\n{'a training step':44}{'ms':>8}{'+norms':>8}{'ratio':>8}")
    step("small CNN, 128 images of 32x32", small_cnn(), torch.randn(BATCH, 3, 32, 32))
    step("digits.onnx's, 512 images of 8x8", DIGITS["smoothing_network"](), torch.randn(4 * BATCH, 1, 8, 8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0, help="CPU seconds that each network trains for")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    layers(arguments.seconds)
    norms()
    steps()


if __name__ == "__main__":
    main()
