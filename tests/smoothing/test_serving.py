from fractions import Fraction
from math import comb

import pytest
import torch

from radii.smoothing import gaussian
from radii.smoothing.serving import SmoothedClassifier, prediction_test


@pytest.mark.parametrize(("n", "alpha"), [(11, 0.1), (60, 0.01), (101, 0.001)])
def test_two_classes_by_enumeration(n, alpha):
    """At even odds the test names a class, either, with probability alpha at most, and hardly less."""
    named = [k for k in range(n + 1) if prediction_test([k, n - k, 0], alpha=alpha) is not None]
    chance = sum((Fraction(comb(n, k), 2**n) for k in named), start=Fraction(0))
    assert chance <= Fraction(alpha)
    fewer = max(k for k in range(n // 2, n + 1) if k not in named)
    assert chance + 2 * Fraction(comb(n, fewer), 2**n) > Fraction(alpha)
    # and a class that g does not answer is named with probability alpha at most: p = 0.45
    p = Fraction(45, 100)
    wrong = sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in named if k > n - k)
    assert wrong <= Fraction(alpha)


def test_the_first_against_the_second_of_many():
    assert prediction_test([60, 10, 10, 10, 10, 0], alpha=0.001) == 0
    assert prediction_test([60, 59, 1, 0], alpha=0.001) is None
    assert prediction_test([30, 30, 0], alpha=0.5) is None
    assert prediction_test([10, 0, 990], alpha=0.001) is None  # non-finite logits are no answer
    assert prediction_test([900, 0, 100], alpha=0.001) == 0


def test_a_linear_classifier_is_smoothed_to_itself():
    weight = torch.tensor([1.0, -2.0, 0.5])

    def classifier(batch: torch.Tensor) -> torch.Tensor:
        z = batch @ weight
        return torch.stack([z, -z], 1)

    g = SmoothedClassifier(classifier, gaussian(0.5), num_classes=2, alpha=1e-6)
    assert g.predict(torch.tensor([1.0, -1.0, 0.0])) == 0  # margin 2.6 sigma: wrong with chance 1e-6
    assert g.predict(torch.tensor([-1.0, 1.0, 0.0])) == 1
    assert g.predict(torch.zeros(3)) is None  # named with chance 1e-6


@pytest.mark.parametrize(("name", "counts", "alpha"), [("alpha", [1, 0, 0], 0.0), ("counts", [0, 0, 0], 0.1)])
def test_refusals_name_the_argument(name, counts, alpha):
    with pytest.raises(ValueError, match=f"^{name}: "):
        prediction_test(counts, alpha=alpha)
