"""A few of the networks that the hunt is made of; and that it would notice."""

import pytest

from tests.local.random_networks import Found, checked, drawn, pool

EACH, SEED, COUNT = 1, 0, 8


def test_nothing_leaves_its_bounds() -> None:
    total = Found()
    for i in range(COUNT):
        found = checked(*drawn(pool(EACH), SEED, i))
        assert not found.wrong, (i, found.wrong)
        total.radii, total.finite = total.radii + found.radii, total.finite + found.finite
    assert total.radii > COUNT / 2 and total.finite > COUNT / 2


def test_bounds_that_are_a_little_too_narrow_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Balls of a hundredth less than what is said."""
    from radii.local.region import Region

    ball = Region.ball.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(Region, "ball", classmethod(lambda cls, x, eps, *rest: ball(cls, x, 0.99 * eps, *rest)))
    wrong = [i for i in range(6) if checked(*drawn(pool(EACH), SEED, i)).wrong]
    assert wrong
