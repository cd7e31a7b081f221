"""The random bits of noise that is drawn on a GPU, as they are defined: Philox4x32-10. No torch.

Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3 (SC 2011). There is no state: a value's bits are
a function of the stream's seed, the sample's number and the value's place, so any of them can be drawn at any time.
Formulas: docs/numerics.md 6.4.
"""

import numpy as np
import numpy.typing as npt

ROUNDS = 10
FACTORS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
RAISES = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)

Words = npt.NDArray[np.uint64]


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[Words, Words]) -> tuple[Words, Words, Words, Words]:
    """Four words for each counter under a key; all of 32 bits, in arrays of 64."""
    (a, b, c, d), (left, right) = counter, key
    for _ in range(ROUNDS):
        first, second = a * FACTORS[0], c * FACTORS[1]
        a, b, c, d = second >> HALF ^ b ^ left, second & LOW, first >> HALF ^ d ^ right, first & LOW
        left, right = left + RAISES[0] & LOW, right + RAISES[1] & LOW
    return a, b, c, d


def words(seed: bytes, samples: npt.NDArray[np.integer], size: int) -> Words:
    """64 random bits a value, shape (len(samples), size), of the samples with these numbers in the stream of ``seed``.

    The key is the seed's first 8 bytes; a counter is (call, sample, the next 8 bytes). A call gives two words: those of
    the places ``call`` and ``call + ceil(size / 2)``.
    """
    seeds = np.frombuffer(seed[:16], "<u4").astype(np.uint64)
    calls = np.arange(-(-size // 2), dtype=np.uint64)
    numbers = samples.astype(np.uint64)[:, None]
    a, b, c, d = philox((calls, numbers, seeds[2], seeds[3]), (seeds[0], seeds[1]))
    return np.concatenate([a | b << HALF, c | d << HALF], axis=1)[:, :size]
