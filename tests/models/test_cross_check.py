from typing import Any

import pytest
from mpmath import binomial, mp, mpf

from models.cross_check import at_least, damning, drawn, tally
from models.database import Database
from models.plan import Plan
from models.repositories import certifications, leases, shards
from models.repositories.chunks import InputResult
from models.tables import Certification, Dataset, Model, Shard
from tests import factories

SMOOTHING, LIPSCHITZ = Plan(chance=0.001), Plan()


def attack(index: int, contradicted: bool) -> dict[str, Any]:
    return {"distance": 1.0, "prediction": 1, "contradicted": contradicted, "input": f"{index:064x}"}


def test_the_draw_is_of_the_job_alone() -> None:
    for asked, total, number in ((0, 100, 0), (None, 3, 1), (None, 101, 3), (None, 10_000, 10), (7, 100, 7), (9, 5, 5)):
        indices = range(4, 4 + 3 * total, 3)
        found = drawn({"cross_check": asked}, "digest", indices)
        assert len(set(found)) == number and set(found) <= set(indices)
        assert found == drawn({"cross_check": asked}, "digest", indices)
    assert drawn({}, "digest", range(5)) == []  # asked before there was a cross-check
    assert drawn({"cross_check": 5}, "a", range(1000)) != drawn({"cross_check": 5}, "b", range(1000))


def test_the_probability_is_that_of_the_binomial_distribution() -> None:
    for n, k, p in ((10, 1, 0.001), (10, 3, 0.001), (1000, 500, 0.5), (1000, 2, 1e-12), (7, 7, 0.3), (5, 2, 1e-300)):
        with mp.workdps(50):
            exact = sum(binomial(n, j) * mpf(p) ** j * (1 - mpf(p)) ** (n - j) for j in range(k, n + 1))
            assert at_least(k, n, p) == pytest.approx(float(exact), rel=1e-9)
    assert (at_least(0, 10, 0.1), at_least(1, 10, 0.0), at_least(1, 10, 1.0)) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(("n", "k", "p"), [(1100, 1, 0.001), (100_000, 3, 1e-6), (50_000, 9, 0.5), (5000, 4990, 0.99)])
def test_the_probability_of_many_trials_is_known_too(n: int, k: int, p: float) -> None:
    """Beyond some 1029 trials no float holds the number of combinations."""
    few, complement = (range(k), 1) if k < n - k else (range(k, n + 1), 0)
    with mp.workdps(50):
        exact = abs(complement - sum(binomial(n, j) * mpf(p) ** j * (1 - mpf(p)) ** (n - j) for j in few))
    assert at_least(k, n, p) == pytest.approx(float(exact), rel=1e-9)


def test_when_contradictions_damn_a_job() -> None:
    def contradicted(plan: Plan, count: int, number: int = 10) -> dict[str, Any]:
        return tally(plan, 500, range(number), {i: attack(i, i < count) for i in range(5)})

    assert damning(contradicted(LIPSCHITZ, 0)) is None
    assert "0 at most" in str(damning(contradicted(LIPSCHITZ, 1)))
    one = contradicted(SMOOTHING, 1)
    assert damning(one) is None and one["contradicted_inputs"] == [0]
    # ten were drawn, though five alone were certified: alpha is of "certified, and falsely"
    assert one["probability"] == pytest.approx(1 - 0.999**10, rel=1e-5)
    assert damning(contradicted(SMOOTHING, 2)) is None  # 4.5e-5
    assert "0, 1, 2" in str(damning(contradicted(SMOOTHING, 3)))  # 1.2e-7
    assert damning(contradicted(Plan(chance=0.001 / 500), 2))
    assert damning(contradicted(Plan(chance=0.5), 5)) is None
    same = {i: attack(0, True) for i in range(3)}  # one input three times, and one noise
    assert damning(tally(SMOOTHING, 500, range(10), same)) is None
    # known from earlier certifications, of inputs that nobody drew now: all 500 may have been looked at
    known = tally(SMOOTHING, 500, [], {i: attack(i, True) for i in range(3)})
    assert known["drawn"] == 0 and known["probability"] == pytest.approx(at_least(3, 500, 0.001), rel=1e-4)
    assert damning(known) is None
    assert damning(tally(LIPSCHITZ, 500, [], {7: attack(7, True)}))
    crashed = tally(LIPSCHITZ, 500, range(10), {1: {"not_checked": "flat"}, 2: {"not_checked": "flat"}})
    assert (crashed["attacked"], crashed["not_checked"], damning(crashed)) == (0, ["flat"], None)


@pytest.mark.parametrize("contradictions", [0, 1])
def test_a_broken_deterministic_radius_fails_the_job_and_keeps_the_evidence(
    database: Database, contradictions: int
) -> None:
    with database.write() as session:
        model, dataset = factories.ready_model(session), factories.ready_dataset(session)
        job = certifications.add(
            session,
            certifications.new(
                session.get_one(Model, model.id),
                session.get_one(Dataset, dataset.id),
                method={"kind": "lipschitz", "cross_check": 2},
                plan=LIPSCHITZ,
                indices=range(4),
                cost=1,
                shard_inputs=2,
            ),
        ).id
        factories.cut(session, job)
    to_attack: list[int] = []
    for place in range(2):
        with database.write() as session:
            query = session.query(Shard.id).where(Shard.certification_id == job).order_by(Shard.start)
            claim = leases.claim(session, "shard", query.all()[place][0], worker="w", seconds=60)
            assert claim is not None
            order = shards.begin(session, claim)
            to_attack = order.cross_check
            found = []
            for index in order.indices:
                detail = {"attack": attack(index, index in to_attack[:contradictions])} if index in to_attack else {}
                found.append(InputResult(index, 0, 0, 0.5, False, detail))
            shards.record(session, claim, [], found, seconds=60)
            shards.finish(session, claim)
            factories.end(session, job)
    with database.read() as session:
        row = session.get_one(Certification, job)
        assert row.summary is not None
        checked = row.summary["cross_check"]
        assert len(to_attack) == checked["drawn"] == checked["attacked"] == 2
        assert checked["contradicted_inputs"] == to_attack[:contradictions]
        if contradictions:
            assert row.problem is not None
            assert (row.state, row.problem["type"]) == ("failed", "/problems/contradicted")
            assert f": {to_attack[0]}." in row.problem["detail"]
        else:
            assert (row.state, row.problem) == ("succeeded", None)
