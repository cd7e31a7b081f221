"""Several inputs in one batch: of each the votes that it has alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from radii.execution.row_invariance import row_invariant
from radii.smoothing import CHUNK, Noise, count_chunk, gaussian, grid_of
from radii.smoothing.keys import chunk_seed
from radii.smoothing.noise import Fill, Part
from radii.smoothing.sampling import Classifier, count_parts
from tests.graph.placement import OneDevice

SHAPE = (2, 3)
CLASSES = 5
BATCHES = (1, 7, 100, 1000, 4000)


def classifier(batch: torch.Tensor) -> torch.Tensor:
    """A function of a few values of a noisy copy; non-finite where the third one is large."""
    steps = (batch.flatten(1) * 255).floor().long()
    logits = torch.nn.functional.one_hot((steps[:, 0] + 3 * steps[:, 5]) % CLASSES, CLASSES).float()
    logits[steps[:, 2] > 200, 1] = torch.inf
    return logits


def truth(noise: Noise, part: Part) -> list[int]:
    """The same in numpy, of the samples that the part's own stream gives."""
    copies = torch.empty((part.size, *SHAPE))
    noise.stream(part.seed, part.x)(copies)
    steps = np.floor(copies.numpy().reshape(part.size, -1) * np.float32(255)).astype(int)
    votes = np.where(steps[:, 2] > 200, CLASSES, (steps[:, 0] + 3 * steps[:, 5]) % CLASSES)
    return np.bincount(votes, minlength=CLASSES + 1).tolist()


def parts_of(*sizes: int) -> list[Part]:
    """Of different inputs, on the grid."""
    draw = np.random.default_rng(sum(sizes))
    xs = (draw.integers(0, 256, (len(sizes), *SHAPE)) / 255).astype(np.float32)
    return [
        Part(chunk_seed(bytes([number]) * 32, "estimate", number), torch.from_numpy(x), size)
        for number, (x, size) in enumerate(zip(xs, sizes, strict=True))
    ]


def shared(
    parts: list[Part], batch_size: int, noise: Noise | None = None, f: Classifier = classifier
) -> list[list[int]]:
    counts = count_parts(f, parts, num_classes=CLASSES, noise=noise or grid_of("gaussian", 0.25), batch_size=batch_size)
    assert (counts.dtype, counts.shape) == (np.dtype(np.int64), (len(parts), CLASSES + 1))
    return counts.tolist()


@pytest.mark.parametrize("noise", [grid_of("gaussian", 0.25), gaussian(0.25)], ids=["grid", "floating"])
@pytest.mark.parametrize("sizes", [(1,), (1000,), (1, 50, 1000), (1000, 1, 1, 999, 50), (50,) * 40, (1,) * 9])
def test_each_part_has_the_votes_of_its_own_stream(sizes: tuple[int, ...], noise: Noise) -> None:
    parts = parts_of(*sizes)
    expected = [truth(noise, part) for part in parts]
    assert [sum(votes) for votes in expected] == list(sizes)
    for batch_size in BATCHES:
        assert shared(parts, batch_size, noise) == expected


def test_they_are_those_of_a_chunk_alone() -> None:
    parts = parts_of(50, 1000, 50)
    for number, (part, votes) in enumerate(zip(parts, shared(parts, 100), strict=True)):
        alone = count_chunk(
            classifier,
            part.x,
            num_classes=CLASSES,
            noise=grid_of("gaussian", 0.25),
            key=bytes([number]) * 32,
            stage="estimate",
            number=number,
            size=part.size,
            batch_size=100,
        )
        assert votes == alone.tolist()


def test_the_classifier_sees_whole_batches_of_the_samples_in_turn() -> None:
    parts = parts_of(50, 3, 1000, 1)
    copies = [torch.empty((part.size, *SHAPE)) for part in parts]
    for part, samples in zip(parts, copies, strict=True):
        grid_of("gaussian", 0.25).stream(part.seed, part.x)(samples)
    for batch_size in BATCHES:
        seen: list[torch.Tensor] = []

        def recorder(batch: torch.Tensor) -> torch.Tensor:
            seen.append(batch.clone())  # noqa: B023
            return torch.zeros(len(batch), CLASSES)

        assert shared(parts, batch_size, f=recorder) == [[part.size, 0, 0, 0, 0, 0] for part in parts]
        assert {len(batch) for batch in seen} == {batch_size}
        assert torch.equal(torch.cat(seen)[:1054], torch.cat(copies))
        assert len(torch.cat(seen)) - 1054 < batch_size and torch.cat(seen).isfinite().all()


@pytest.mark.parametrize(
    ("name", "sizes", "change"),
    [
        ("parts", (), {}),
        ("size", (5, 0), {}),
        ("size", (CHUNK + 1, 5), {}),
        ("batch_size", (5, 5), {"batch_size": 0}),
        ("num_classes", (5, 5), {"num_classes": 1}),
        ("classifier", (5, 5), {"num_classes": 4}),
    ],
)
def test_refusals_name_the_argument(name: str, sizes: tuple[int, ...], change: dict[str, int]) -> None:
    call: dict[str, Any] = {"num_classes": CLASSES, "batch_size": 10, "noise": grid_of("gaussian", 0.25), **change}
    with pytest.raises(ValueError, match=f"^{name}: "):
        count_parts(classifier, parts_of(*sizes), **call)


@pytest.mark.parametrize("x", [torch.zeros(3, 2), torch.zeros(SHAPE).double()])
def test_inputs_must_be_alike(x: torch.Tensor) -> None:
    one, other = parts_of(5, 5)
    with pytest.raises(ValueError, match=r"^parts: "):
        shared([one, other._replace(x=x)], 10)


def batch_of(size: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(size).standard_normal((size, 64)).astype(np.float32))


def test_row_invariant_is_what_does_not_depend_on_the_place() -> None:
    net = nn.Linear(64, CLASSES).eval().double()
    for size in (1, 2, 7, 100, 1000):
        batch = batch_of(size)
        assert row_invariant(lambda batch: net(batch.double()), batch)
        assert row_invariant(lambda batch: torch.full((len(batch), CLASSES), torch.nan), batch)


def last_bit(batch: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    logits = batch[:, :CLASSES].clone()
    logits[where] = torch.nextafter(logits[where], torch.tensor(torch.inf))
    return logits


def test_all_that_counts_lies_where_the_inputs_do() -> None:
    """On "meta", whose tensors have no values: what is left is to bring the counts back, once, at the end."""

    class Unseen:
        def streams(self, parts: Sequence[Part]) -> Fill:
            return lambda out: None

    parts = [part._replace(x=part.x.to("meta")) for part in parts_of(40, 1, 250)]
    weight = torch.empty(6, CLASSES, device="meta")
    unseen: Any = Unseen()
    with (
        OneDevice(),  # type: ignore[no-untyped-call]
        pytest.raises(NotImplementedError, match="copy out of meta tensor") as end,
    ):
        shared(parts, 100, unseen, lambda batch: batch.flatten(1) @ weight)
    assert any("counts.cpu()" in str(entry.statement) for entry in end.traceback)


@pytest.mark.parametrize("size", [2, 7, 100, 1000])
def test_one_place_that_is_another_in_its_last_bit_is_not_row_invariant(size: int) -> None:
    batch, places = batch_of(size), torch.arange(size)
    for place in {0, size // 2, size // 3, size - 1}:
        assert not row_invariant(lambda batch: last_bit(batch, places == place), batch)  # noqa: B023
    assert not row_invariant(lambda batch: last_bit(batch, batch[:, 9] > batch[0, 9]), batch)  # who lies beside it


def test_a_classifier_that_writes_on_its_input_and_its_last_answer_may_be_row_invariant() -> None:
    logits = torch.empty(100, CLASSES)

    def replayed(batch: torch.Tensor) -> torch.Tensor:
        logits.copy_(batch[:, :CLASSES])
        batch.fill_(torch.nan)
        return logits

    assert row_invariant(replayed, batch_of(100))
