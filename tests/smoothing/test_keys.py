import hashlib
import hmac
import struct
from typing import Any

import numpy as np
import pytest

from radii.smoothing import CHUNK, chunk_seed, chunk_size, chunks, input_digest, noise_key

SECRET = bytes(range(32))
QUESTION: dict[str, Any] = {"model_digest": "m1", "input_digest": "x1", "noise": "gaussian/a", "sigma": 0.25}
KEY = noise_key(SECRET, **QUESTION)


def framed(*fields: bytes) -> bytes:
    return b"".join(struct.pack(">Q", len(field)) + field for field in fields)


def test_keys_are_as_documented() -> None:
    message = framed(b"radii noise 1", b"m1", b"x1", b"gaussian/a", struct.pack(">d", 0.25))
    assert hmac.new(SECRET, message, hashlib.sha256).digest() == KEY
    message = framed(b"estimate", struct.pack(">Q", 7))
    assert hmac.new(KEY, message, hashlib.sha256).digest() == chunk_seed(KEY, "estimate", 7)


def test_every_part_of_the_question_matters() -> None:
    others = [
        noise_key(SECRET[::-1], **QUESTION),
        noise_key(SECRET, **QUESTION | {"model_digest": "m2"}),
        noise_key(SECRET, **QUESTION | {"input_digest": "x2"}),
        noise_key(SECRET, **QUESTION | {"noise": "gaussian/b"}),
        noise_key(SECRET, **QUESTION | {"sigma": 0.5}),
        noise_key(SECRET, **QUESTION | {"model_digest": "m1x", "input_digest": "1"}),  # the same letters in a row
    ]
    assert len({KEY, *others}) == 7
    seeds = {chunk_seed(key, stage, i) for key in (KEY, *others) for stage in ("pilot", "estimate") for i in range(9)}
    assert len(seeds) == 7 * 2 * 9


def test_refusals_name_the_argument() -> None:
    with pytest.raises(ValueError, match=r"^secret: "):
        noise_key(b"guessable", **QUESTION)
    for sigma in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"^sigma: "):
            noise_key(SECRET, **QUESTION | {"sigma": sigma})
    with pytest.raises(ValueError, match=r"^key: "):
        chunk_seed(KEY[:-1], "pilot", 0)
    with pytest.raises(ValueError, match=r"^stage: "):
        chunk_seed(KEY, "estimate {}", 0)
    with pytest.raises(ValueError, match=r"^number: "):
        chunk_seed(KEY, "pilot", -1)
    for number in (-1, 3):
        with pytest.raises(ValueError, match=r"^number: "):
            chunk_size(2001, number)


@pytest.mark.parametrize("n", [1, 100, 999, 1000, 1001, 100_000, 123_456])
def test_chunks_partition_the_samples(n: int) -> None:
    sizes = [chunk_size(n, number) for number in range(chunks(n))]
    assert sum(sizes) == n
    assert set(sizes[:-1]) <= {CHUNK}
    assert 1 <= sizes[-1] <= CHUNK


def test_input_digest_is_of_type_shape_and_values() -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert input_digest(x) == input_digest(x.copy(order="F")) == input_digest(x.astype(">f4"))
    wide = np.zeros((3, 8), np.float32)
    wide[:, ::2] = x
    assert input_digest(wide[:, ::2]) == input_digest(x)
    others: list[np.ndarray] = [x.reshape(4, 3), x.reshape(12), x + 1, x.T, x[None]]
    others += [x.astype(np.float64), x.view(np.int32)]
    assert len({input_digest(x), *map(input_digest, others)}) == 8
    assert input_digest(np.array(1, np.float32)) != input_digest(np.ones(1, np.float32))
    with pytest.raises(ValueError, match=r"^x: "):
        input_digest(np.array([object()]))
