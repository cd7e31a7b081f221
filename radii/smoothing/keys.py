"""Keys, chunks and digests: they settle which noise belongs to which question. No torch.

*No lucky seeds.* The noise of a certificate follows from a secret of the server and from what is asked; the same
question gets the same stream, and no client can choose it. A sample belongs to a chunk of fixed size, and a
chunk's noise to (key, stage, chunk number) alone: not to the batch size, the worker, or the attempt.
Formulas: docs/numerics.md 6.1.
"""

import hashlib
import hmac
import math
import re
import struct

import numpy as np
import numpy.typing as npt

CHUNK = 1000
"""Samples in a chunk. Fixed for ever with the format version below."""

Stage = str
"""What samples are for, in a word: "pilot" to choose the class, "estimate" to certify it, "predict" to answer for g,
"median" to bound a regressor's. Their noises are independent."""

_FORMAT = b"radii noise 1"
_SECRET_BYTES = 16


def noise_key(secret: bytes, *, model_digest: str, input_digest: str, noise: str, sigma: float) -> bytes:
    """The 32-byte noise key of one input: HMAC-SHA256 (RFC 2104) under ``secret`` of everything that is asked.

    ``noise`` names the source (:attr:`NoiseSource.name`). Raises ValueError for a secret under 16 bytes, which
    could be searched for a lucky one.
    """
    if len(secret) < _SECRET_BYTES:
        raise ValueError(f"secret: must have at least {_SECRET_BYTES} bytes, not {len(secret)}")
    if not (sigma > 0 and math.isfinite(sigma)):
        raise ValueError(f"sigma: must be positive and finite, not {sigma}")
    texts = (text.encode() for text in (model_digest, input_digest, noise))
    return _mac(secret, _FORMAT, *texts, struct.pack(">d", sigma))


def chunk_seed(key: bytes, stage: Stage, number: int) -> bytes:
    """32 bytes from which a noise source makes the stream of chunk ``number`` (from 0) of a stage."""
    if len(key) != 32:
        raise ValueError(f"key: must be the 32 bytes of noise_key, not {len(key)}")
    if not re.fullmatch("[a-z]+", stage):
        raise ValueError(f"stage: must be a word in lower case, not {stage!r}")
    if not 0 <= number < 2**63:
        raise ValueError(f"number: must not be negative, not {number}")
    return _mac(key, stage.encode(), number.to_bytes(8))


def chunks(n: int) -> int:
    """How many chunks n samples take."""
    return -(-n // CHUNK)


def chunk_size(n: int, number: int) -> int:
    """How many of n samples fall in chunk ``number``: the last one is a prefix of its stream."""
    if not 0 <= number < chunks(n):
        raise ValueError(f"number: {n} samples have chunks 0 to {chunks(n) - 1}, not {number}")
    return min(CHUNK, n - number * CHUNK)


def input_digest(x: npt.NDArray[np.generic]) -> str:
    """SHA-256 (hex) of an array's type (little-endian), shape and values in C order. Raises ValueError for objects."""
    if x.dtype.hasobject:
        raise ValueError(f"x: must hold numbers, not {x.dtype}")
    array = np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("<"))
    header = f"{array.dtype.str}{list(x.shape)}".encode()
    return hashlib.sha256(_framed(header) + array.tobytes()).hexdigest()


def _mac(key: bytes, *fields: bytes) -> bytes:
    return hmac.digest(key, b"".join(map(_framed, fields)), "sha256")


def _framed(field: bytes) -> bytes:
    """With its length in front, so that no two lists of fields read the same."""
    return len(field).to_bytes(8) + field
