"""What a GPU draws is defined in numpy: that this is Philox, and the law. That a GPU draws it: `test_fused`."""

import hashlib
import itertools
import logging
import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch

from radii.laws import LAWS
from radii.smoothing import Grid, gaussian, grid_of, noise_of
from radii.smoothing.noise import Fill
from radii.smoothing.noise.base import in_turn
from radii.smoothing.noise.floating import Floating
from radii.smoothing.noise.fused import CELL_BITS, FusedFloating, FusedGrid, Shares
from radii.smoothing.noise.philox import philox, words
from radii.smoothing.noise.selftest import check_noise
from tests.smoothing.test_grid import CDFS

NAMES = sorted(LAWS)
CPU = torch.device("cpu")
SEED = hashlib.sha256(b"tests of Philox").digest()


@pytest.mark.parametrize(
    ("counter", "key", "expected"),  # Random123 1.14, tests/kat_vectors: philox4x32 10
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers(counter: str, key: str, expected: str) -> None:
    def words_of(text: str) -> Any:
        return tuple(np.uint64(int(word, 16)) for word in text.split())

    assert philox(words_of(counter), words_of(key)) == words_of(expected)


def test_a_value_has_its_bits_whatever_else_is_drawn() -> None:
    whole = words(SEED, np.arange(5), 7)
    assert len(np.unique(whole)) == 35
    assert np.array_equal(words(SEED, np.array([3, 1]), 7), whole[[3, 1]])
    longer = words(SEED, np.arange(5), 8)
    assert np.array_equal(longer[:, :7], whole)  # both have four calls
    key, counter = np.frombuffer(SEED[:8], "<u4"), np.frombuffer(SEED[8:16], "<u4")
    a, b, c, d = (int(w) for w in philox((2, 3, *counter.astype(np.uint64)), tuple(key.astype(np.uint64))))
    assert (longer[3, 2], longer[3, 6]) == (a + (b << 32), c + (d << 32))


def test_128_bits_of_the_seed_are_used() -> None:
    first = words(SEED, np.arange(2), 8)
    for bit in range(128):
        flipped = bytearray(SEED)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not (words(bytes(flipped), np.arange(2), 8) == first).any()


@pytest.mark.parametrize("law", NAMES)
@pytest.mark.parametrize("scale", [0.01, 0.3, 2.55, 63.75, 1000.0, pytest.param(None, id="most")])
def test_shares_are_those_of_a_rounded_value(law: str, scale: float | None) -> None:
    """Of all 2^64 words, against 30-digit probabilities; and that the guide leads to them."""
    kind = LAWS[law]
    if scale is None:
        scale = math.floor((2**15 - 1 - 255 - 2) / kind.reach)
    shares = Shares(scale, kind)
    ends = [0, *(int(end) for end in shares.ends), 2**64]
    given = [mp.mpf(b - a) / 2**64 for a, b in itertools.pairwise(ends)]
    with mp.workdps(30):
        values = range(-shares.most, shares.most + 2)
        cdf = [CDFS[law]((v - mp.mpf("0.5")) / scale) for v in values]
        exact = [b - a for a, b in itertools.pairwise(cdf)]
    distance = mp.fsum(abs(a - b) for a, b in zip(given, exact, strict=True)) / 2
    assert distance < grid_of(law, scale / 255).tail_mass(1) / 2

    inner = shares.ends[(shares.ends > 0) & (shares.ends < 2**64 - 1)]
    tried = np.concatenate([inner, inner - np.uint64(1), inner + np.uint64(1)])
    edges = np.arange(2**CELL_BITS, dtype=np.uint64) << np.uint64(64 - CELL_BITS)
    tried = np.concatenate([tried, edges, edges - np.uint64(1), np.array([0, 2**64 - 1], np.uint64)])
    found = shares.of(tried)
    guide = shares.guide.view(np.uint32)[(tried >> np.uint64(64 - CELL_BITS)).astype(int)]
    assert (guide & 0xFFFF <= found).all()
    assert (found <= (guide & 0xFFFF) + (guide >> 16)).all()
    below, above = (np.array([0, *shares.ends, 2**64 - 1], dtype=object)[found + i] for i in (0, 1))
    assert all(a <= w <= b for a, w, b in zip(below, tried.tolist(), above, strict=True))


def defined(noise: FusedFloating | FusedGrid) -> FusedFloating | FusedGrid:
    """It, drawing its definition."""

    def stream(seed: bytes, x: torch.Tensor) -> Fill:
        done = 0

        def fill(out: torch.Tensor) -> None:
            nonlocal done
            done += len(out)
            out.copy_(torch.from_numpy(noise.defined(seed, x, done)[done - len(out) :]))

        return fill

    noise.stream = stream  # type: ignore[method-assign]
    noise.streams = lambda parts: in_turn(noise, parts)  # type: ignore[method-assign]
    return noise


@pytest.mark.parametrize("law", NAMES)
def test_what_is_defined_follows_the_law(law: str) -> None:
    check_noise(defined(FusedGrid(LAWS[law], 0.001, device=CPU)))
    check_noise(defined(FusedGrid(LAWS[law], 30.0, 0.0, 255.0, device=CPU)))
    if LAWS[law].fused:
        check_noise(defined(FusedFloating(Floating(LAWS[law], 0.5), CPU)))


def test_the_name_holds_what_is_defined() -> None:
    name = FusedGrid(LAWS["gaussian"], 0.5, device=CPU).name
    assert name == "grid-gaussian/255/philox-table/b4f59faa1464aa82"
    assert len(
        {FusedGrid(LAWS[law], 0.5, device=CPU).name for law in NAMES} | {grid_of(law, 0.5).name for law in NAMES}
    ) == 2 * len(LAWS)


def test_the_tail_is_that_of_the_source_on_the_cpu() -> None:
    """Votes of both are summed: a CPU goes on where a GPU began, or finds its votes in the ledger."""
    for law in LAWS:
        for size in (1, 3072):
            if LAWS[law].fused:
                assert FusedFloating(Floating(LAWS[law], 0.5), CPU).tail_mass(size) == noise_of(law, 0.5).tail_mass(
                    size
                )
            assert FusedGrid(LAWS[law], 0.5, device=CPU).tail_mass(size) == grid_of(law, 0.5).tail_mass(size)


def test_where_it_can_not_be_drawn_the_cpu_draws(caplog: pytest.LogCaptureFixture) -> None:
    """This torch has no CUDA, or this interpreter no Triton."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here, which draws")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert type(grid_of("gaussian", 0.25, 0.0, 1.0, device="cuda")) is Grid
            assert gaussian(0.25, "cuda").name == gaussian(0.25).name
    assert [record.message.partition(" noise for cuda is drawn on the CPU")[0] for record in caplog.records] == [
        "gaussian",
        "gaussian",
    ]  # the grid's, and the other
    assert "TRITON_CACHE_DIR" in caplog.text
