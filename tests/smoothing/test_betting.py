import math
import random

import mpmath as mp
import numpy as np
import pytest

from radii.smoothing.betting import Bets, bets_against, bets_for, bets_on_misses

mp.mp.dps = 50
RADII = [1e-4, 0.01, 0.5, 1.0, 3.0, 8.0, 12.5]  # as c = 2 r/sigma
ROUNDING = 1e-15  # of a mean of factors near 1, each a rounded logarithm; the slack of a sample is 30 times that


def factors(bets: Bets, line: int) -> list[tuple[mp.mpf, ...]]:
    """What is staked in fact, a stake each: exponentials of the stored numbers, at (class, other, third)."""
    logs = zip(bets.top[line], bets.rival[line], bets.rest[line], strict=True)
    return [tuple(mp.exp(mp.mpf(float(log))) for log in stake) for stake in logs]


def mean(stake: tuple[mp.mpf, ...], a: mp.mpf, b: mp.mpf) -> mp.mpf:
    top, rival, rest = stake
    return a * top + b * rival + (1 - a - b) * rest


def below(z: mp.mpf, c: float) -> mp.mpf:
    """h at ``a = Phi(z)``: the most that the other class may have where the radius is reached."""
    return mp.ncdf(z - mp.mpf(c))


@pytest.mark.parametrize("c", RADII)
@pytest.mark.parametrize("tail", [0.0, 1e-4])
def test_bets_for_a_radius_are_fair_where_it_is_just_missed(c: float, tail: float) -> None:
    """Every stake on every line, where a smaller radius costs it most: on h, at the line's own slope, and around."""
    bets = bets_for(c, 10**9, tail)
    lost = mp.mpf(tail)
    for line in range(0, len(bets.top), 5):
        for stake in factors(bets, line)[::4]:
            slope = (stake[0] - stake[2]) / (stake[2] - stake[1]) if stake[2] != stake[1] else mp.mpf(0)
            touching = mp.log(slope) / c + mp.mpf(c) / 2 if slope > 0 else mp.mpf(0)
            for z in (touching, touching - mp.mpf("0.1"), mp.mpf(c) / 2):
                a, b = mp.ncdf(z), below(z, c)
                if a + b > 1:
                    continue
                moved = min(lost, b)  # what is not drawn may all be votes against the class
                assert mean(stake, a + moved, b - moved) <= 1 + ROUNDING


@pytest.mark.parametrize("c", RADII)
@pytest.mark.parametrize("tail", [0.0, 1e-4])
def test_of_bets_against_a_radius_one_line_is_fair_wherever_it_is_reached(c: float, tail: float) -> None:
    bets, rng = bets_against(c, 10**9, tail), random.Random(1)
    lines = [factors(bets, line)[::9] for line in range(len(bets.top))]
    places = [mp.mpf(c) / 2 - mp.mpf(rng.expovariate(0.5)) for _ in range(12)] + [mp.mpf(c) / 2]
    points = [(mp.ncdf(z), below(z, c)) for z in places] + [(mp.mpf(0), mp.mpf(0)), (mp.mpf(1), mp.mpf(0))]
    beyond = mp.ncdf(mp.mpf(c) / 2 + mp.mpf("0.3"))  # where less is left than h allows
    for a, b in [*points, (beyond, 1 - beyond)]:
        moved = min(mp.mpf(tail), a)
        worst = [max(mean(stake, a - moved, b + moved) for stake in stakes) for stakes in lines]
        assert min(worst) <= 1 + ROUNDING


@pytest.mark.parametrize("q", [0.4, 0.02, 1e-6])
@pytest.mark.parametrize("tail", [0.0, 1e-8])
def test_bets_on_misses_are_fair_at_the_border(q: float, tail: float) -> None:
    winning, losing = bets_on_misses(q, 10**9, tail)
    for bets, b in ((winning, mp.mpf(q) - mp.mpf(tail)), (losing, mp.mpf(q) + mp.mpf(tail))):
        for stake in factors(bets, 0):
            assert mean(stake, 1 - b, b) <= 1 + ROUNDING
    assert max(mean(stake, 1 - 2 * mp.mpf(q), 2 * mp.mpf(q)) for stake in factors(losing, 0)) > 1  # and some win


@pytest.mark.parametrize("c", RADII)
def test_another_vote_for_the_rival_never_helps(c: float) -> None:
    """So the class of most votes has the least evidence for a radius against it, and the most against one."""
    assert np.all(bets_for(c, 10**5, 0.0).rival <= bets_for(c, 10**5, 0.0).rest)
    assert np.all(bets_against(c, 10**5, 0.0).rival >= bets_against(c, 10**5, 0.0).rest)
    assert np.all(bets_for(c, 10**5, 0.0).top >= bets_for(c, 10**5, 0.0).rest)


def test_wealth_is_below_50_digit_arithmetic_and_close() -> None:
    rng = random.Random(0)
    for _ in range(20):
        n, c = round(10 ** rng.uniform(1, 9)), rng.choice(RADII)
        top = round(n * rng.choice([rng.random(), 1 - 10 ** rng.uniform(-8, 0)]))
        rival = round((n - top) * rng.random())
        for bets in (bets_for(c, n, 0.0), bets_against(c, n, 0.0), *bets_on_misses(0.01, n, 0.0)):
            votes = [mp.mpf(top), mp.mpf(rival), mp.mpf(n - top - rival)]
            lines = []
            for line in range(len(bets.top)):
                logs = zip(bets.top[line], bets.rival[line], bets.rest[line], strict=True)
                stakes = [mp.fsum(v * mp.mpf(float(x)) for v, x in zip(votes, s, strict=True)) for s in logs]
                lines.append(mp.fsum(map(mp.exp, stakes)) / len(stakes))
            weights = bets.weights
            wealth = (
                min(lines)
                if weights is None
                else mp.fsum(mp.mpf(float(w)) * x for w, x in zip(weights[:, 0], lines, strict=True))
            )
            exact = mp.log(wealth)
            unfair = n * mp.mpf(ROUNDING)
            assert exact - mp.mpf("2e-9") - mp.mpf("6e-14") * n <= bets.log_wealth(top, rival, n) <= exact - unfair


def test_all_wealth_is_spent_and_no_more() -> None:
    for c in RADII:
        weights = bets_for(c, 10**5, 0.0).weights
        assert weights is not None and float(weights.sum()) == pytest.approx(1, abs=1e-12)
        assert bets_for(c, 10**5, 0.0).log_wealth(0, 0, 0) <= 0
        assert bets_against(c, 10**5, 0.0).log_wealth(0, 0, 0) <= 0
    nothing = bets_for(8.0, 10**5, 0.5)  # a target within the tail that is not drawn: nothing can be won
    assert max(nothing.log_wealth(n, 0, n) for n in (1, 10**5)) <= 0
    assert math.isfinite(nothing.log_wealth(0, 10**5, 10**5))
