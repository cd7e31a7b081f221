"""Whether inputs may share a batch: whether a row's logits depend on where in the batch it lies.
See docs/numerics.md 8.2.
"""

import torch

from radii.smoothing.sampling import Classifier

COPIES = 4


def row_invariant(classifier: Classifier, batch: torch.Tensor) -> bool:
    """Whether ``classifier`` gives the rows of ``batch`` the very same logits wherever they lie, and beside what.

    Some kernels sum the last rows of a batch in another order, or choose that order by what is left over. Four rows are
    tried at every place at once, in a batch of nothing else, and all of them at two other places. That is no proof, but
    an order of summation shows in the last bits of most logits.
    """
    size = len(batch)
    with torch.inference_mode():
        expected = classifier(batch.clone()).clone()  # a network may write on its input, and on its last answer
        for row in {round(i * (size - 1) / (COPIES - 1)) for i in range(COPIES)}:
            everywhere = classifier(batch[row].expand_as(batch).clone(memory_format=torch.contiguous_format))
            if not _same(everywhere, expected[row].expand_as(expected)):
                return False
        return all(_same(classifier(batch.roll(by, 0)), expected.roll(by, 0)) for by in (1, size // 2))


def _same(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return torch.allclose(found, expected, rtol=0, atol=0, equal_nan=True)
