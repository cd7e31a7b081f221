"""Trains the digits example's three networks and writes the files that the demo certifies: a minute or two on a CPU.

    python examples/digits/train.py        (needs scikit-learn, which carries the data, and onnxscript)

Data: UCI optical recognition of handwritten digits, 1,797 images of 8x8 pixels in [0, 1]; a seeded split.
``digits.onnx``            convolutional, trained under Gaussian noise: certify it by smoothing, sigma 0.25.
``digits-lipschitz.onnx``  trained for large margins against its Lipschitz bound: certify it by that bound.
``digits-orthogonal.onnx`` of orthogonal layers, 1-Lipschitz whatever they learn: certify it by its bound, which is 1.
``digits.npz``             the whole held-out test set: ``x`` float32 (N, 1, 8, 8), ``y`` int64 (N,).
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from radii.graph import Graph, read_onnx, to_module
from radii.layers import Cayley, MaxMin, plain
from radii.lipschitz import margin_radius, network_bound
from radii.smoothing import certify, gaussian, input_digest, noise_key
from radii.training import lmt_margin, margin_cross_entropy

HERE = Path(__file__).parent
SEED = 0
SIGMA = 0.25  # standard deviation of the noise, in units of the pixels
RADII = 0.25, 0.5  # the l2 radii of the table, in units of the pixels
BATCH = 128
LEARNING_RATE = 5e-3

Loss = Callable[[nn.Sequential, Tensor, Tensor], Tensor]


def data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images (N, 1, 8, 8) in [0, 1] and labels (N,): those to train on, then the quarter held out."""
    digits = load_digits()
    x, y = (digits.images[:, None] / 16).astype(np.float32), digits.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.25, stratify=y, random_state=SEED)
    return tuple(map(torch.from_numpy, (train_x, train_y, test_x, test_y)))  # type: ignore[return-value]


def smoothing_network() -> nn.Sequential:
    """About 110,000 multiply-adds an image: cheap enough for 10,000 noisy samples an image on one thread."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def lipschitz_network() -> nn.Sequential:
    """One convolution and two dense layers; orthogonal at the start, so that the bound is not loose there."""
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(layer.weight)
    return network


def orthogonal_network() -> nn.Sequential:
    """Four orthogonal layers with sorting between them: no slope is above 1, and hardly one below it."""
    return nn.Sequential(
        nn.Flatten(), Cayley(64, 64), MaxMin(), Cayley(64, 64), MaxMin(), Cayley(64, 64), MaxMin(), Cayley(64, 10)
    )


def noisy_cross_entropy(network: nn.Sequential, x: Tensor, y: Tensor) -> Tensor:
    """Gaussian augmentation (Cohen et al., ICML 2019), four noises an image: images are few."""
    x, y = x.repeat(4, 1, 1, 1), y.repeat(4)
    return nn.functional.cross_entropy(network(x + SIGMA * torch.randn_like(x)), y)


def margin_radii(network: nn.Sequential, x: Tensor, y: Tensor) -> Tensor:
    """l2 radii (B, 10) within which class j can't overtake the label; negative where it already has.

    ``(z_y - z_j) / (||w_y - w_j|| L)``, L the product of the exact spectral norms of all layers but the last
    (Tsuzuku et al., NeurIPS 2018). Infinite at j = y. Differentiable, in floating point: no proof.
    """
    *features, last = network
    assert isinstance(last, nn.Linear)
    lipschitz = torch.ones((), dtype=x.dtype)
    z = x
    for layer in features:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            unit = torch.eye(z[0].numel(), dtype=x.dtype).reshape(-1, *z.shape[1:])
            matrix = (layer(unit) - layer(torch.zeros_like(unit[:1]))).flatten(1)
            lipschitz = lipschitz * torch.linalg.matrix_norm(matrix, 2)
        z = layer(z)
    logits: Tensor = last(z)
    w = last.weight
    own = nn.functional.one_hot(y, len(w)).bool()
    # own: keeps w_y - w_y, whose norm has no gradient, out of the training
    pairs = torch.linalg.vector_norm(w[y][:, None] - w + own[..., None], dim=-1)
    margins = logits.gather(1, y[:, None]) - logits
    radii: Tensor = margins / (pairs * lipschitz)
    return radii.masked_fill(own, torch.inf)


def margin_loss(network: nn.Sequential, x: Tensor, y: Tensor) -> Tensor:
    """A soft hinge on the certified radius, at a target beyond the radius of the table."""
    target, sharpness = 0.4, 10.0
    return nn.functional.softplus(torch.logsumexp(sharpness * (target - margin_radii(network, x, y)), 1)).mean()


def orthogonal_loss(network: nn.Sequential, x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy with the margin of a radius a little beyond those of the table, at a low temperature."""
    return margin_cross_entropy(network(x), y, margin=lmt_margin(0.64, lipschitz=1.0), temperature=0.1)


def train(network: nn.Sequential, loss: Loss, x: Tensor, y: Tensor, *, epochs: int) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, epochs=epochs, steps_per_epoch=-(-len(x) // BATCH)
    )
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(x)), BATCH):
            optimizer.zero_grad()
            torch.autograd.backward(loss(network, x[rows], y[rows]))
            optimizer.step()
            schedule.step()
    network.eval()


def strip(model: onnx.ModelProto) -> None:
    """Drops what the exporter notes of the machine it ran on: stack traces and paths, as metadata and comments."""
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in (model, graph, *graph.node, *values):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def export(network: nn.Module, path: Path) -> None:
    """Writes the network as ONNX, weights inside, any batch size."""
    program = torch.onnx.export(
        network,
        (torch.zeros(2, 1, 8, 8),),
        input_names=["x"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    strip(model)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def smoothed_radii(graph: Graph, x: Tensor) -> list[tuple[int | None, float]]:
    """Prediction and radius of each image by randomized smoothing (0: abstained)."""
    module, noise = to_module(graph), gaussian(SIGMA)
    results = []
    for image in x:
        digest = input_digest(image.numpy())
        key = noise_key(bytes(32), model_digest=graph.digest, input_digest=digest, noise=noise.name, sigma=SIGMA)
        results.append(certify(module, image, num_classes=10, noise=noise, alpha=0.001, n0=100, n=10_000, key=key))
    return [(result.prediction, result.radius or 0.0) for result in results]


def bounded_radii(graph: Graph, x: Tensor) -> list[tuple[int | None, float]]:
    """Prediction and radius of each image by the network's Lipschitz bound (0: abstained)."""
    bound = network_bound(graph)
    margins = margin_radius(bound.logits(x), bound, norms=x.double().flatten(1).norm(dim=1))
    return [(margin.prediction, margin.radius or 0.0) for margin in margins]


def main() -> None:
    torch.set_num_threads(1)  # the sums of one thread are the same every time
    train_x, train_y, test_x, test_y = data()
    np.savez_compressed(HERE / "digits.npz", x=test_x.numpy(), y=test_y.numpy())
    print(f"{'file':24}{'kB':>6}{'clean':>8}", *(f"{f'r={radius}':>8}" for radius in RADII), f"{'seconds':>9}", sep="")
    for name, build, loss, epochs, certified_radii in (
        ("digits.onnx", smoothing_network, noisy_cross_entropy, 100, smoothed_radii),
        ("digits-lipschitz.onnx", lipschitz_network, margin_loss, 60, bounded_radii),
        ("digits-orthogonal.onnx", orthogonal_network, orthogonal_loss, 60, bounded_radii),
    ):
        start = time.perf_counter()
        torch.manual_seed(SEED)
        network = build()
        train(network, loss, train_x, train_y, epochs=epochs)
        export(plain(network, test_x), HERE / name)
        with torch.inference_mode():
            clean = float((network(test_x).argmax(1) == test_y).double().mean())
        results = certified_radii(read_onnx((HERE / name).read_bytes()), test_x)
        right = [
            np.mean([p == int(label) and r >= radius for (p, r), label in zip(results, test_y, strict=True)])
            for radius in RADII
        ]
        size, seconds = (HERE / name).stat().st_size / 1000, time.perf_counter() - start
        print(f"{name:24}{size:6.0f}{clean:8.3f}", *(f"{share:8.3f}" for share in right), f"{seconds:9.1f}", sep="")


if __name__ == "__main__":
    main()
