"""The header parser, against NumPy's own writer."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from radii.cli.npy import MAGIC, input_shape


@pytest.mark.parametrize("shape", [(5,), (5, 1, 8, 8), (0, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_shapes_are_those_that_numpy_wrote(
    tmp_path: Path, shape: tuple[int, ...], order: Literal["C", "F"], save: Callable[..., None]
) -> None:
    file = tmp_path / "data.npz"
    save(file, x=np.zeros(shape, "f4", order=order), y=np.zeros(3))
    assert input_shape(file) == shape[1:]


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format(tmp_path: Path, version: tuple[int, int]) -> None:
    file = tmp_path / "data.npz"
    with zipfile.ZipFile(file, "w") as archive, archive.open("x.npy", "w") as stream:
        np.lib.format.write_array(stream, np.zeros((2, 7)), version=version)
    assert input_shape(file) == (7,)


def header(text: bytes) -> bytes:
    return MAGIC + b"\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        MAGIC + b"\x04\x00\x00\x00",
        MAGIC + b"\x02\x00" + (2**31).to_bytes(4, "little"),
        header(b"__import__('os').getpid()"),
        header(b"{'shape': (2, 'x')}"),
        header(b"{'shape': ()}"),
        header(b"[1]"),
        header(b"{'shape': (2,"),
        header(b"(" * 9000),
    ],
)
def test_what_is_no_array_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "data.npz"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(ValueError, match=r"data\.npz is no NumPy \.npz file"):
        input_shape(file)


def test_no_zip_and_no_x_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("x")
    with pytest.raises(ValueError, match="is no NumPy"):
        input_shape(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", images=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="has no array x"):
        input_shape(tmp_path / "other.npz")
