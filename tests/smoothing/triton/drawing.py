"""What the kernels draw, on RADII_TEST_DEVICE: on a GPU, or interpreted on the CPU."""
# mypy: disallow-untyped-decorators=False

import hashlib
import math
import os
from collections.abc import Sequence

import mpmath as mp
import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from radii.laws import LAWS
from radii.smoothing.noise import Part, grid_of, noise_of, selftest
from radii.smoothing.noise.floating import Floating
from radii.smoothing.noise.fused import CELL_BITS, Fused, FusedFloating, FusedGrid, usable
from radii.smoothing.noise.kernels import _share, gaussian, laplace, unit
from radii.smoothing.noise.philox import words
from radii.smoothing.noise.selftest import BrokenNoise, check_noise

DEVICE = torch.device(os.environ["RADII_TEST_DEVICE"])
INTERPRETED = DEVICE.type == "cpu"
NAMES = sorted(LAWS)
FUSED = [law for law in NAMES if LAWS[law].fused]
Source = FusedGrid | FusedFloating
GRIDS: list[tuple[str, float | None, float, float]] = [
    ("gaussian", 0.3 / 255, 0.0, 1.0),
    ("gaussian", 60.0, 0.0, 255.0),
    ("gaussian", 1.0, -1.0, 1.0),
    *((law, sigma, 0.0, 1.0) for law in NAMES for sigma in (0.25, None)),
]
SHAPES = [(), (2,), (3, 4, 7), (511,), (512,), (513,), (1301,)]


def seed(number: int) -> bytes:
    return hashlib.sha256(bytes([number])).digest()


def on_grid(law: str, sigma: float | None, low: float, high: float) -> FusedGrid:
    """The source of deviation ``sigma``; None is the largest that a table holds."""
    if sigma is None:
        sigma = (2**15 - 1 - 255 - 2) / LAWS[law].reach * (high - low) / 255 * (1 - 1e-12)
    return FusedGrid(LAWS[law], sigma, low, high, device=DEVICE)


def floating(law: str, sigma: float = 0.5) -> FusedFloating:
    return FusedFloating(Floating(LAWS[law], sigma), DEVICE)


def parts_of(noise: Source, shape: tuple[int, ...], sizes: tuple[int, ...]) -> list[Part]:
    rng = np.random.default_rng(len(shape))
    k = torch.from_numpy(rng.integers(0, 256, (len(sizes), *shape)))
    xs = k.double() / 255 - 0.5
    if isinstance(noise, FusedGrid):
        noise.values(k, xs := torch.empty(k.shape))
    return [Part(seed(i), x.float().to(DEVICE), size) for i, (x, size) in enumerate(zip(xs, sizes, strict=True))]


def drawn(noise: Source, parts: list[Part], *sizes: int) -> np.ndarray:
    fill = noise.streams(parts)
    batches = [torch.full((size, *parts[0].x.shape), -99.0, device=DEVICE) for size in sizes]
    for batch in batches:
        fill(batch)
    return torch.cat(batches).cpu().numpy()


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_bits_on_the_grid_are_those_of_the_definition(
    grid: tuple[str, float | None, float, float], shape: tuple[int, ...]
) -> None:
    """Numpy's and the kernel's searches share nothing but the table's ends. Batches begin and end within parts."""
    noise = on_grid(*grid)
    parts = parts_of(noise, shape, (2, 0, 1, 4))
    expected = np.concatenate([noise.defined(*part) for part in parts])
    found = drawn(noise, parts, 1, 3, 5)
    assert np.array_equal(found[:7], expected)
    assert (found[7:] == -99).all()


@pytest.mark.parametrize("law", FUSED)
def test_all_of_a_law_is_drawn_alike(law: str) -> None:
    """Some 500,000 values: for some the search takes all the steps that it may."""
    noise = on_grid(law, 0.25, 0.0, 1.0)
    noise.BLOCK = 2**14 if INTERPRETED else None  # type: ignore[misc]
    (part,) = parts_of(noise, (2**15,), (16,))
    found = drawn(noise, [part], 16)
    assert np.array_equal(found, noise.defined(*part))
    more = noise.table.guide.view(np.uint32) >> 16
    cells = words(part.seed, np.arange(16), 2**15) >> np.uint64(64 - CELL_BITS)
    assert more[cells.astype(int)].max() == more.max()


@triton.jit
def look_up(out, given, guide, ends, CELLS: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    word = tl.load(given + places).to(tl.uint64, bitcast=True)
    tl.store(out + places, _share(word, guide, ends, CELLS))


@pytest.mark.parametrize("grid", GRIDS)
def test_every_border_is_where_it_is_defined(grid: tuple[str, float | None, float, float]) -> None:
    """The words at and next to all ends of shares and of cells, which hardly ever come."""
    noise = on_grid(*grid)
    edges = np.arange(2**CELL_BITS, dtype=np.uint64) << np.uint64(64 - CELL_BITS)
    at = np.concatenate([noise.table.ends, edges])
    given = np.resize(np.concatenate([at - np.uint64(1), at, at + np.uint64(1)]), 2**18)
    out = torch.empty(len(given), dtype=torch.int32, device=DEVICE)
    block = 2**15 if INTERPRETED else 256
    there = torch.from_numpy(given.view(np.int64)).to(DEVICE)
    look_up[(2**18 // block,)](out, there, *noise._tables[:2], CELLS=CELL_BITS, BLOCK=block)
    assert np.array_equal(out.cpu().numpy(), noise.table.of(given))


def exactly(law: str, word: Sequence[np.uint64]) -> list[mp.mpf]:
    """Of one word, or of the two of a pair."""
    first, *second = (mp.mpf(int(np.uint64(w).view(np.int64))) / 2**63 for w in word)
    if law == "uniform":
        return [first]
    size = -mp.log(max(abs(first), mp.mpf(2) ** -64))
    if law == "laplace":
        return [-size if first < 0 else size]
    return [mp.sqrt(2 * size) * wave(mp.pi * second[0]) for wave in (mp.cos, mp.sin)]


@pytest.mark.parametrize("law", FUSED)
@pytest.mark.parametrize("shape", [(), (2,), (3, 4, 7), (513,)])
def test_floating_values_are_those_of_the_formulas(law: str, shape: tuple[int, ...]) -> None:
    """Against 15 digits of mpmath: what float32 loses is a few last bits. Of the definition it loses the same."""
    noise = floating(law)
    parts = parts_of(noise, shape, (2, 3))
    found = drawn(noise, parts, 1, 4)
    for part, copies in zip(parts, np.split(found, [2]), strict=True):
        size = part.x.numel()
        word = words(part.seed, np.arange(part.size), 2 * -(-size // 2))
        if law == "gaussian":
            rows = [zip(*np.split(row, 2), strict=True) for row in word]
            values = [np.array([exactly(law, pair) for pair in row], float).T.reshape(-1)[:size] for row in rows]
        else:
            values = [np.array([exactly(law, [w])[0] for w in row[:size]], float) for row in word]
        expected = part.x.cpu().double().numpy() + noise.here.stretch * np.array(values).reshape(copies.shape)
        assert np.abs(copies - expected).max() < 3e-6 * noise.sigma
        assert np.abs(noise.defined(*part) - expected).max() < 1e-12


@triton.jit
def transform(out, given, LAW: tl.constexpr, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    places = tl.arange(0, SIZE)
    one = tl.load(given + places).to(tl.uint64, bitcast=True)
    two = tl.load(given + SIZE + places).to(tl.uint64, bitcast=True)
    if LAW == "gaussian":
        here, there = gaussian(one, two)
    elif LAW == "laplace":
        here, there = laplace(one), laplace(two)
    else:
        here, there = unit(one), unit(two)
    tl.store(out + places, here)
    tl.store(out + SIZE + places, there)


@pytest.mark.parametrize("law", FUSED)
def test_the_furthest_values_are_right(law: str) -> None:
    """Words that hardly ever come: of every magnitude, and next to those of which a value is largest or 0."""
    powers = [2**k + off for k in range(64) for off in (-1, 0, 1)]
    rare = [w % 2**64 for w in (*powers, *(-w for w in powers), *range(8))]
    given = np.array(rare + rare[::-1], np.uint64)
    given = np.concatenate([given, given[: 1024 - len(given)]])  # two halves of 512
    out = torch.empty(1024, device=DEVICE)
    transform[(1,)](out, torch.from_numpy(given.view(np.int64)).to(DEVICE), LAW=law, SIZE=512)
    one, two = given[:512], given[512:]
    if law == "gaussian":
        expected = np.array([exactly(law, pair) for pair in zip(one, two, strict=True)], float).T.reshape(-1)
    else:
        expected = np.array([exactly(law, [w])[0] for w in given], float)
    assert np.abs(out.cpu().numpy() - expected).max() < 3e-6 * {"gaussian": 1, "uniform": 1, "laplace": 2}[law]
    if law == "gaussian":
        assert np.hypot(*np.split(expected, 2)).max() == pytest.approx(math.sqrt(128 * math.log(2)))


@pytest.mark.parametrize("noise", [on_grid("laplace", 0.25, 0.0, 1.0), *map(floating, FUSED)])
def test_a_part_is_what_its_stream_is_alone(noise: Source) -> None:
    parts = parts_of(noise, (5, 3), (3, 2, 6))
    together = drawn(noise, [*parts, parts[0]], 5, 1, 8)
    for part, copies in zip([*parts, parts[0]], np.split(together, [3, 5, 11]), strict=True):
        alone = torch.empty((part.size, 5, 3), device=DEVICE)
        noise.stream(part.seed, part.x)(alone)
        assert np.array_equal(copies, alone.cpu().numpy())
    assert not np.array_equal(together[:3], together[5:8])


@pytest.mark.parametrize("noise", [on_grid("gaussian", 0.25, 0.0, 1.0), floating("gaussian")])
def test_an_input_in_another_layout(noise: Source) -> None:
    """Places are counted in C order, wherever in memory they are."""
    parts = parts_of(noise, (2, 3, 4, 5), (2, 1))
    last = [part._replace(x=part.x.contiguous(memory_format=torch.channels_last)) for part in parts]
    assert np.array_equal(drawn(noise, last, 3), drawn(noise, parts, 3))


def test_rows_beyond_32_bits() -> None:
    """The last samples of a long part after many others: no test draws so many, so the kernel is asked itself."""
    noise = on_grid("gaussian", 0.25, 0.0, 1.0)
    (part,) = parts_of(noise, (7,), (1,))
    begin, sample = 2**40 + 3, 2**32 - 3
    record = torch.tensor([[begin, 0, *np.frombuffer(part.seed[:16], "<i8").tolist()]], device=DEVICE)
    out = torch.full((3, 7), math.nan, device=DEVICE)
    noise._launch((3,), out, noise._inputs(part.x[None]), record, begin + sample, 7, 1, 0, 0, BLOCK=256)
    shares = noise.table.of(words(part.seed, np.arange(sample, sample + 3), 7)) - noise.table.most
    values = (part.x.cpu().double() * 255).round().numpy() + shares
    assert np.array_equal(out.cpu().numpy(), values.astype(np.float32) / np.float32(255))


@pytest.mark.skipif(INTERPRETED, reason="8 GiB that only a GPU fills quickly")
def test_a_batch_of_more_than_32_bits() -> None:
    noise = on_grid("gaussian", 0.25, 0.0, 1.0)
    (part,) = parts_of(noise, (2**20,), (2051,))
    out = torch.empty(2051, 2**20, device=DEVICE)
    noise.streams([part])(out)
    last = words(part.seed, np.arange(2048, 2051), 2**20)
    steps = noise.centre(part.x.cpu()).numpy() + noise.table.of(last)
    assert np.array_equal(out[2048:].cpu().numpy(), noise._sums()[steps])


def test_what_it_does_not_write_to() -> None:
    noise = on_grid("gaussian", 0.25, 0.0, 1.0)
    fill = noise.stream(seed(0), torch.zeros(4, device=DEVICE))
    for out in (torch.empty(4, 6, device=DEVICE).T, torch.empty(2, 4, dtype=torch.float64, device=DEVICE)):
        with pytest.raises(ValueError, match=r"^out: must be contiguous float32"):
            fill(out)
    with pytest.raises(ValueError, match=r"^x: is not on the grid"):
        noise.stream(seed(0), torch.full((4,), 0.3, device=DEVICE))
    assert noise.streams([])(torch.empty(1)) is None


def test_a_source_is_usable_and_its_name_says_what_it_draws() -> None:
    sources: list[Source] = [*(on_grid(law, 0.25, 0.0, 1.0) for law in LAWS), *map(floating, FUSED)]
    assert all(usable(source) for source in sources)
    assert len({source.name for source in sources}) == len(sources)
    assert floating("gaussian").name.startswith("gaussian/philox-box-muller-f32/")
    if not INTERPRETED:
        assert grid_of("laplace", 0.25, 0.0, 1.0, device=DEVICE).name == on_grid("laplace", 0.25, 0.0, 1.0).name
        assert noise_of("uniform", 0.25, DEVICE).name == floating("uniform").name


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The self-test, with fewer values for the tails, in a few long samples: interpreted, a program takes its time."""
    if INTERPRETED:
        for name, value in {"AXES": 2**15, "SAMPLES": 4, "TAIL_SAMPLES": 4}.items():
            monkeypatch.setattr(selftest, name, value)
        monkeypatch.setattr(Fused, "BLOCK", 2**12)


@pytest.mark.parametrize("noise", [*(on_grid(law, 0.1, 0.0, 1.0) for law in LAWS), *map(floating, FUSED)])
def test_the_self_test_passes(noise: Source, wide: None) -> None:
    check_noise(noise, DEVICE)


def spoilt(name: str, at: int, change: float) -> FusedGrid:
    noise = FusedGrid(LAWS["gaussian"], 0.25, device=DEVICE)
    table = noise._tables[("guide", "ends", "values").index(name)]
    table[at] += change
    return noise


@pytest.mark.parametrize(
    "noise",
    [
        spoilt("guide", 2**13 + 5, 1),  # one cell of 16,384
        spoilt("ends", 538, 2**49),  # one value of 1,077 a little oftener: 1 in 32,768
        spoilt("values", 600, 1e-6),
    ],
    ids=str,
)
def test_the_self_test_finds_what_is_wrong_with_few_values(noise: Source, wide: None) -> None:
    with pytest.raises(BrokenNoise, match=r"sigma = 0\.25: values differ"):
        check_noise(noise, DEVICE)
