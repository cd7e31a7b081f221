"""Safetensors: what the library writes and reads, and what is none."""

import json
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from radii.graph import Limits
from radii.graph.errors import Refusal
from radii.graph.weights import read_safetensors, write_safetensors

RNG = np.random.default_rng(4)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=20).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(["f4", "f8", "i8", "i4", "u1", "?"]), st.lists(st.integers(0, 4), max_size=3)),
        max_size=5,
    )
)
def test_safetensors_are_what_the_library_writes_and_reads(what: dict[str, tuple[str, list[int]]]) -> None:
    arrays = {name: RNG.integers(0, 2, shape).astype(kind) for name, (kind, shape) in what.items()}
    for found in (
        read_safetensors(safetensors.numpy.save(arrays), Limits()),
        safetensors.numpy.load(write_safetensors(arrays)),
    ):
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            assert np.array_equal(found[name], array)


def tensors(header: Any, content: bytes = b"\0" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any) -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        (2**63).to_bytes(8, "little"),
        tensors(b""),
        tensors([]),
        tensors(b'{"a": 1, "a": 1}'),
        tensors({"a": 1}),
        tensors(entry("F4")),
        tensors(entry(["F32"])),
        tensors(entry(shape=[-2])),
        tensors(entry(shape=[True])),
        tensors(entry(shape=2)),
        tensors(entry(shape=[2**40, 2**40])),
        tensors(entry(shape=[2**31, 2**33], offsets=[0, 2**66])),
        tensors(entry(shape=[1] * 17)),
        tensors(entry(offsets=[0, 4])),
        tensors(entry(offsets=[8, 16])),
        tensors(entry(offsets=[8, 0])),
        tensors(entry(offsets=[0])),
        tensors(entry(offsets=[0, 8.0])),
        tensors(entry(more=1)),
        tensors(entry(), b"\0" * 9),
        tensors(entry() | {"b": entry()["a"]}),
        tensors(entry(shape=[1], offsets=[4, 8])),
    ],
)
def test_safetensors_that_are_not(data: bytes) -> None:
    with pytest.raises(Refusal):
        read_safetensors(data, Limits())
