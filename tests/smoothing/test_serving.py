from fractions import Fraction
from math import comb

import pytest
import torch

from radii.smoothing import gaussian
from radii.smoothing.serving import SmoothedClassifier, prediction_test


@pytest.mark.parametrize(("n", "alpha"), [(11, 0.1), (60, 0.01), (101, 0.001)])
def test_two_classes_by_enumeration(n: int, alpha: float) -> None:
    """At even odds the test names a class, either, with probability alpha at most, and hardly less."""
    named = [k for k in range(n + 1) if prediction_test([k, n - k, 0], alpha=alpha).prediction is not None]
    chance = sum((Fraction(comb(n, k), 2**n) for k in named), start=Fraction(0))
    assert chance <= Fraction(alpha)
    fewer = max(k for k in range(n // 2, n + 1) if k not in named)
    assert chance + 2 * Fraction(comb(n, fewer), 2**n) > Fraction(alpha)
    # and a class that g does not answer is named with probability alpha at most: p = 0.45
    p = Fraction(45, 100)
    wrong = sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in named if k > n - k)
    assert wrong <= Fraction(alpha)


def test_the_first_against_the_second_of_many() -> None:
    def answered(counts: list[int], alpha: float = 0.001) -> int | None:
        return prediction_test(counts, alpha=alpha).prediction

    assert answered([60, 10, 10, 10, 10, 0]) == 0
    assert answered([60, 59, 1, 0]) is None
    assert answered([30, 30, 0], alpha=0.5) is None
    assert answered([10, 0, 990]) is None  # non-finite logits are no answer
    assert answered([900, 0, 100]) == 0


@pytest.mark.parametrize(("first", "second"), [(7, 0), (40, 22), (31, 30), (900, 100)])
def test_the_p_value_is_the_binomial_tail_on_both_sides_rounded_up(first: int, second: int) -> None:
    n = first + second
    tail = sum((Fraction(comb(n, k), 2**n) for k in range(first, n + 1)), start=Fraction(0))
    exact = min(Fraction(1), 2 * tail)
    p_value = prediction_test([first, second, 0], alpha=0.01).p_value
    assert exact <= Fraction(p_value) <= exact * (1 + Fraction(1, 10**8))


@pytest.mark.parametrize("mass", [1e-9, 0.001, 0.02])
def test_samples_that_are_none_of_the_law_do_not_answer(mass: float) -> None:
    """At even odds under the law, of which a fraction votes as it likes (for the first): still alpha at most."""
    n, alpha = 300, 0.01
    q = Fraction(1, 2) + Fraction(mass)
    named = [k for k in range(n + 1) if prediction_test([k, n - k, 0], alpha=alpha, tail_mass=mass).prediction == 0]
    assert sum(comb(n, k) * q**k * (1 - q) ** (n - k) for k in named) <= Fraction(alpha)
    without = [k for k in range(n + 1) if prediction_test([k, n - k, 0], alpha=alpha).prediction == 0]
    assert (min(named) > min(without)) is (mass > 1e-9)  # a mass that is next to none costs next to nothing


def test_a_linear_classifier_is_smoothed_to_itself() -> None:
    weight = torch.tensor([1.0, -2.0, 0.5])

    def classifier(batch: torch.Tensor) -> torch.Tensor:
        z = batch @ weight
        return torch.stack([z, -z], 1)

    g = SmoothedClassifier(classifier, gaussian(0.5), num_classes=2, alpha=1e-6)
    assert g.predict(torch.tensor([1.0, -1.0, 0.0])) == 0  # margin 2.6 sigma: wrong with chance 1e-6
    assert g.predict(torch.tensor([-1.0, 1.0, 0.0])) == 1
    assert g.predict(torch.zeros(3)) is None  # named with chance 1e-6


@pytest.mark.parametrize(
    ("name", "counts", "alpha", "mass"),
    [("alpha", [1, 0, 0], 0.0, 0.0), ("counts", [0, 0, 0], 0.1, 0.0), ("tail_mass", [1, 0, 0], 0.1, 1.0)],
)
def test_refusals_name_the_argument(name: str, counts: list[int], alpha: float, mass: float) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        prediction_test(counts, alpha=alpha, tail_mass=mass)
