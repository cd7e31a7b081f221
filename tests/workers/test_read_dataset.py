"""What becomes of data sets, good and hostile."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from radii.smoothing import grid_of
from workers.intake.read_dataset import read_dataset
from workers.intake.rejected import Rejected

LIMIT = 2**22
RNG = np.random.default_rng(0)


def npz(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            out.writestr(name.replace("__", "."), content)
    return file.getvalue()


def npy(header: str, content: bytes = b"") -> bytes:
    """A .npy whose header says anything at all."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def read(content: bytes, folder: Path, limit: int = LIMIT) -> dict[str, object]:
    file = folder / "upload"
    file.write_bytes(content)
    return read_dataset(file, folder, max_bytes=limit)


@pytest.mark.parametrize(
    "x",
    [
        RNG.random((5, 3, 4)).astype(np.float16),
        RNG.random((5, 3)),
        RNG.random((5, 3)).astype(">f4"),
        np.asfortranarray(RNG.random((70_000, 5)).astype(np.float32)),
        RNG.integers(0, 256, (5, 2, 2, 3), dtype=np.uint8),
        RNG.integers(-9, 9, (1, 1)),
        RNG.random((4, 4)) > 0.5,
    ],
    ids=lambda x: f"{x.dtype}{list(x.shape)}",
)
def test_numbers_arrive_as_float32_in_c_order(x: NDArray[np.generic], tmp_path: Path) -> None:
    y = np.arange(len(x)) % 3
    summary = read(npz(x=x, y=y.astype(np.uint8)), tmp_path)
    got = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert got.dtype == np.float32 and got.flags.c_contiguous
    assert np.array_equal(got, x.astype(np.float32))
    assert np.array_equal(np.load(tmp_path / "y.npy", allow_pickle=False), y)
    assert (summary["count"], summary["shape"]) == (len(x), list(x.shape[1:]))
    assert (summary["min"], summary["max"]) == (float(got.min()), float(got.max()))
    assert summary["labels"] == {str(k): int((y == k).sum()) for k in sorted(set(y))}
    assert summary["num_labels"] == y.max() + 1


@pytest.mark.parametrize(
    ("x", "grid"),
    [
        (np.arange(256, dtype=np.uint8).reshape(2, 128), [0.0, 255.0]),
        (np.arange(256).reshape(2, 128) / 255, [0.0, 1.0]),
        ((np.arange(256, dtype=np.float32) / np.float32(255)).reshape(2, 128), [0.0, 1.0]),
        (np.array([[0.0, 1.0]]), [0.0, 1.0]),
        (np.arange(257).reshape(1, 257), None),
        (np.array([[0.0, -1 / 255]]), None),
        (np.array([[1 / 255, 0.5]]), None),
        (np.array([[2.0, 0.5]]), None),
    ],
)
def test_8_bit_inputs_are_known_as_such(x: NDArray[np.generic], grid: list[float] | None, tmp_path: Path) -> None:
    assert read(npz(x=x), tmp_path)["grid"] == grid
    if grid is not None:  # and every one is a value that noise on this grid starts from
        steps = grid_of("gaussian", 0.25 * grid[1], *grid).steps(torch.from_numpy(np.load(tmp_path / "x.npy")))
        assert steps is not None


def test_labels_may_be_left_out(tmp_path: Path) -> None:
    summary = read(npz(x=np.ones((2, 2))), tmp_path)
    assert (summary["labels"], summary["num_labels"]) == (None, None)


def test_the_same_arrays_give_the_same_bytes_however_they_were_packed(tmp_path: Path) -> None:
    x = RNG.random((50, 6)).astype(np.float32)
    written = []
    for i, variant in enumerate((x, np.asfortranarray(x), x.astype(np.float64), x.astype(">f4"))):
        folder = tmp_path / str(i)
        folder.mkdir()
        read(npz(x=variant), folder)
        written.append((folder / "x.npy").read_bytes())
    assert len(set(written)) == 1


ONES = np.ones((4, 2))
GOOD = npz(x=RNG.random((4, 500)))
HUGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (4, %d)}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an .npz"),
        (b"\x80\x04\x95", "not an .npz"),
        (GOOD[:2000], "damaged or cut off"),
        (GOOD[:1500] + bytes(9) + GOOD[1509:], "damaged or cut off"),
        (npz(y=np.ones(3, int)), "no x"),
        (npz(x=ONES, z=ONES), "'z.npy'"),
        (archive(__=b"", x__npy=b""), "'.'"),
        (npz(x=np.array([["a"], [1.5]], dtype=object)), "pickle"),
        (npz(x=np.array([["a"], ["b"]])), "type <U1"),
        (npz(x=ONES.astype(complex)), "type complex128"),
        (npz(x=ONES.astype("M8[s]")), "type datetime64"),
        (npz(x=np.ones(3, [("a", "f4"), ("b", "f4")])), "of type"),
        (npz(x=np.ones(3)), "at least two axes"),
        (npz(x=np.float32(1)), "at least two axes"),
        (npz(x=np.ones((0, 3))), "no values"),
        (npz(x=np.array([[1.0], [np.nan]])), "x[1]"),
        (npz(x=np.array([[1.0], [np.inf]])), "x[1]"),
        (npz(x=np.array([[1e300]])), "x[0]"),
        (npz(x=ONES, y=np.ones(4)), "type float64"),
        (npz(x=ONES, y=np.ones((4, 2))), "leave out what a regressor was trained for"),
        (npz(x=ONES, y=np.ones(3, int)), "(4,)"),
        (npz(x=ONES, y=np.ones((4, 1), int)), "(4,)"),
        (npz(x=ONES, y=np.array([0, 1, 2, -1])), "-1"),
        (npz(x=ONES, y=np.array([0, 1, 2, 2**63], np.uint64)), str(2**63)),
        (npz(x=np.zeros((2, LIMIT), np.uint8)), "over the limit"),  # four times that as float32
        (npz(x=np.zeros((2, LIMIT))), "over the limit"),
        (archive(x__npy=npy(HUGE % 2**62)), "over the limit"),
        (archive(x__npy=npy(HUGE % 2**70)), "over the limit"),
        (archive(x__npy=npy(HUGE % -5)), "no values"),
        (archive(x__npy=npy(HUGE % 10, bytes(159))), "160 bytes that its header promises"),
        (archive(x__npy=npy(HUGE % 10, bytes(161))), "160 bytes that its header promises"),
        (archive(x__npy=npy("__import__('os').abort()")), "no readable header"),
        (archive(x__npy=npy("(" * 5000)), "no readable header"),
        (archive(x__npy=b"\x93NUMPY\x02\x00" + b"\xff" * 4), "version (2, 0)"),
        (archive(x__npy=b"garbage"), "no readable header"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_refused_in_words(content: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(Rejected) as refusal:
        read(content, tmp_path)
    assert words in refusal.value.document["detail"]
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 5 * LIMIT


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """Many zeros in few bytes: their sizes, honest or forged, stop it before it fills the disk."""
    header = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 4)}")
    bomb = archive(x__npy=header + bytes(2**26))
    forged = bomb.replace(struct.pack("<L", len(header) + 2**26), struct.pack("<L", len(header) + 64))
    assert forged != bomb
    for i, content in enumerate((bomb, forged)):
        folder = tmp_path / str(i)
        folder.mkdir()
        with pytest.raises(Rejected):
            read(content, folder)
        assert sum(file.stat().st_size for file in folder.glob("*.raw")) <= 64
    twice = io.BytesIO(npz(x=ONES))
    with zipfile.ZipFile(twice, "a") as out, pytest.warns(UserWarning, match="Duplicate"):
        out.writestr("x.npy", b"")
    folder = tmp_path / "twice"
    folder.mkdir()
    with pytest.raises(Rejected, match="twice"):
        read(twice.getvalue(), folder)
