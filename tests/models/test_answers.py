"""Whole answers: the very same question is answered again by a row alone, and what an attack found stays found."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from models.base import Json
from models.counts import ATTACK_FAILED
from models.database import Database
from models.plan import Plan
from models.principal import DEFAULT_TENANT
from models.repositories import certifications, leases, shards
from models.repositories.answers import Question
from models.repositories.chunks import ChunkCounts, CountsMismatch, InputResult
from models.repositories.leases import Claim
from models.repositories.ledger import Streams
from models.repositories.recall import Asked, finish_known, recall, untouched
from models.tables import Answer, Certification, Dataset, Model, Report, Result, Shard
from tests import factories

DIGESTS = {0: "zero", 1: "one", 2: "zero"}  # the third input is the first again
QUESTION = Question(DEFAULT_TENANT, "model", "question", DIGESTS)
STREAMS = Streams(DEFAULT_TENANT, "model", '{"sigma":0.25}', DIGESTS)
COUNTS: Json = {"pilot_counts": [10, 0, 0], "counts": [90, 10, 0], "n": 100, "decision": None}
SMOOTHING: Json = {"kind": "smoothing", "sigma": 0.25, "alpha": 0.001, "n0": 10, "n": 100}
LIPSCHITZ: Json = {"kind": "lipschitz", "bound": "auto", "rtol": 1e-6, "norm": "l2"}
BOUND = Plan(figures={"bound": ("upper",)})
FOUND: Json = {"distance": 0.3, "prediction": 1, "contradicted": False, "input": "digest"}


def asked(
    database: Database, method: Json = SMOOTHING, *, attacked: int = 0, shard_inputs: int = 3, cut: int = 3
) -> Claim:
    """A claimed shard of three inputs, of which so many are drawn for the cross-check, the first that is ``cut``."""
    with database.write() as session:
        model, dataset = factories.ready_model(session), factories.ready_dataset(session)
        job = certifications.add(
            session,
            certifications.new(
                session.get_one(Model, model.id),
                session.get_one(Dataset, dataset.id),
                method=method | {"cross_check": attacked},
                plan=BOUND if method is LIPSCHITZ else factories.smoothing(10, 100),
                indices=range(3),
                cost=1 if method is LIPSCHITZ else 110,
                shard_inputs=shard_inputs,
            ),
        )
        factories.cut(session, job.id, cut)
        shard = session.scalars(select(Shard.id).where(Shard.certification_id == job.id).order_by(Shard.start)).first()
        assert shard is not None
        claim = leases.claim(session, "shard", shard, worker="w", seconds=60)
        assert claim is not None
        shards.begin(session, claim)
        return claim


def recalled(database: Database, claim: Claim, question: Question = QUESTION) -> set[int]:
    with database.write() as session:
        streams = STREAMS if session.get_one(Shard, claim.id).certification.method["kind"] == "smoothing" else None
        labels = {0: 3, 1: 4}
        found = recall(session, claim, [0, 1, 2], Asked(question, streams, labels), seconds=60)
        if found == {0, 1, 2}:
            shards.finish(session, claim)
        return found


def computed(database: Database, claim: Claim, radius: float = 0.5, attacks: Any = None, **more: Any) -> None:
    """All three inputs, by a worker."""
    with database.write() as session:
        smoothing = session.get_one(Shard, claim.id).certification.method["kind"] == "smoothing"
        chunks, found = [], []
        for index in range(3):
            detail: Json = {"seconds": 1.5} | (COUNTS | {"executor": "torch"} if smoothing else {"margin": 1.0})
            if index in (attacks or {}):
                detail["attack"] = attacks[index]
            found.append(InputResult(index, 3, 0, radius, False, detail))
            if smoothing:
                chunks += [
                    ChunkCounts(index, "pilot", 0, COUNTS["pilot_counts"]),
                    ChunkCounts(index, "estimate", 0, COUNTS["counts"]),
                ]
        streams = STREAMS if smoothing else None
        shards.record(session, claim, chunks, found, seconds=60, streams=streams, question=QUESTION, **more)
        shards.finish(session, claim)


def job(database: Database, claim: Claim) -> tuple[Certification, list[Result]]:
    with database.write() as session:
        factories.end(session, claim.job)
    with database.read() as session:
        row = session.get_one(Shard, claim.id).certification
        query = select(Result).where(Result.certification_id == row.id).order_by(Result.index)
        return row, list(session.scalars(query))


def test_answers_to_another_tenant_are_nobody_elses_to_know(database: Database) -> None:
    computed(database, asked(database))
    theirs = replace(QUESTION, tenant="other")
    assert recalled(database, asked(database), theirs) == set()
    assert recalled(database, asked(database)) == {0, 1, 2}


def test_an_answer_that_was_committed_unheard_is_given_once(database: Database) -> None:
    """Whoever loses the connection amid a commit tries again."""
    first = asked(database)
    computed(database, first)
    again = asked(database)
    known = Asked(QUESTION, STREAMS, {0: 3, 1: 3})
    for _ in range(2):
        with database.write() as session:
            assert recall(session, again, [0, 1], known, seconds=60) == {0, 1}
    with database.read() as session:
        shard = session.get_one(Shard, again.id)
        assert shard.done == 2 * shard.certification.total // 3


def test_the_very_same_question_is_answered_by_what_is_known(database: Database) -> None:
    first, other = asked(database), asked(database)
    assert recalled(database, first) == set()
    computed(database, first)
    again = asked(database)
    assert recalled(database, again) == {0, 1, 2}
    row, results = job(database, again)
    assert (row.state, row.done) == ("succeeded", row.total)
    assert [(r.label, r.prediction, r.radius, r.abstained) for r in results] == [
        (3, 0, 0.5, False),
        (4, 0, 0.5, False),
        (None, 0, 0.5, False),
    ]
    before = job(database, first)[0].id
    assert all(r.detail == COUNTS | {"seconds": 0.0, "reused": 110, "answered_by": before} for r in results)
    for question in (
        replace(QUESTION, text="other"),
        replace(QUESTION, model="other"),
        replace(QUESTION, inputs={0: "a", 1: "b", 2: "c"}),
    ):
        assert recalled(database, other, question) == set()
    assert recalled(database, other, replace(QUESTION, inputs={0: "a", 1: "one", 2: "c"})) == {1}
    assert job(database, other)[0].done == 110


def test_what_has_begun_to_be_counted_goes_on_as_it_began(database: Database) -> None:
    late = asked(database)
    with database.write() as session:
        shards.record(session, late, [ChunkCounts(1, "pilot", 0, [9, 1, 0])], [], seconds=60)
    computed(database, asked(database))
    assert recalled(database, late) == {0, 2}
    assert job(database, late)[0].done == 2 * 110 + 10


def test_an_input_that_is_drawn_needs_an_attack(database: Database) -> None:
    computed(database, asked(database))
    drawn = asked(database, attacked=3)
    assert recalled(database, drawn) == set()
    crashed = {
        0: {"not_checked": ATTACK_FAILED},
        1: {"not_checked": "flat"},
        2: {"not_checked": ATTACK_FAILED},
    }
    computed(database, drawn, attacks=crashed)
    again = asked(database, attacked=3)
    assert recalled(database, again) == {1}  # why there is no attack on it stays true
    with database.write() as session:  # the same radius, attacked in the end
        detail = COUNTS | {"seconds": 1.0, "attack": FOUND}
        chunks = [ChunkCounts(0, "pilot", 0, COUNTS["pilot_counts"]), ChunkCounts(0, "estimate", 0, COUNTS["counts"])]
        result = InputResult(0, 3, 0, 0.5, False, detail)
        shards.record(session, again, chunks, [result], seconds=60, streams=STREAMS, question=QUESTION)
    last, unchecked = asked(database, attacked=3), asked(database)
    assert recalled(database, last) == {0, 1, 2}  # the third is the first
    row, results = job(database, last)
    assert [r.detail["attack"] for r in results] == [FOUND, {"not_checked": "flat"}, FOUND]
    assert row.summary is not None and row.summary["cross_check"]["attacked"] == 2
    assert recalled(database, unchecked) == {0, 1, 2}
    row, results = job(database, unchecked)
    assert not any("attack" in r.detail for r in results) and "cross_check" not in (row.summary or {})


def test_the_first_answer_stands_and_takes_no_attack_on_another(database: Database) -> None:
    computed(database, asked(database))
    computed(database, asked(database, attacked=3), radius=0.4, attacks=dict.fromkeys(range(3), FOUND))
    with database.read() as session:
        assert {(row.radius, row.attack is None) for row in session.scalars(select(Answer))} == {(0.5, True)}


@pytest.mark.parametrize("number", [0, 3])
def test_a_contradiction_that_was_found_stays_found(database: Database, number: int) -> None:
    first = asked(database, LIPSCHITZ, attacked=3)
    computed(database, first, attacks={1: FOUND | {"contradicted": True}, 0: FOUND, 2: FOUND}, report=REPORT)
    again = asked(database, LIPSCHITZ, attacked=number)
    assert recalled(database, again) == {0, 1, 2}
    for claim in (first, again):
        row, results = job(database, claim)
        assert row.state == "failed" and row.problem is not None and row.problem["type"] == "/problems/contradicted"
        assert row.summary is not None and row.summary["cross_check"]["contradicted_inputs"] == [1]
        assert results[1].detail["attack"]["contradicted"] and ("attack" in results[0].detail) is (
            claim is first or number > 0
        )


REPORT: Json = {"upper": 2.0, "norm": "l2", "rule": "product", "vacuous": False, "layers": []}


def test_a_deterministic_answer_brings_its_report(database: Database) -> None:
    first = asked(database, LIPSCHITZ)
    computed(database, first, report=REPORT)
    again = asked(database, LIPSCHITZ)
    assert recalled(database, again) == {0, 1, 2}
    row, results = job(database, again)
    assert row.summary is not None and row.summary["bound"]["upper"] == 2.0
    with database.read() as session:
        assert session.get_one(Report, row.id).document == REPORT
    assert all(r.detail == {"margin": 1.0, "seconds": 0.0, "answered_by": job(database, first)[0].id} for r in results)
    with database.write() as session:  # a report that is gone is computed again
        for report in session.scalars(select(Report)):
            session.delete(report)
    assert recalled(database, asked(database, LIPSCHITZ)) == set()


def test_what_does_not_add_up_is_no_answer(database: Database) -> None:
    computed(database, asked(database))
    with database.write() as session:
        for row in session.scalars(select(Answer)):
            row.detail = row.detail | {"counts": [90, 9, 0]}
    with pytest.raises(CountsMismatch, match=r"input 0 .* 109 samples"):
        recalled(database, asked(database))


def test_inputs_of_no_shard_yet_are_answered_as_far_as_they_are_known(database: Database) -> None:
    computed(database, asked(database))
    claim = asked(database, shard_inputs=1, cut=1)
    everything = Asked(QUESTION, STREAMS, {})
    with database.write() as session:
        job_id = session.get_one(Shard, claim.id).certification_id
        assert untouched(session, job_id, inputs=1) == range(1, 2)
        more = untouched(session, job_id, inputs=5)
        assert more == range(1, 3)
        unknown = replace(everything, question=replace(QUESTION, inputs=DIGESTS | {2: "two"}))
        assert finish_known(session, job_id, more, unknown) == 1
        assert finish_known(session, job_id, more, everything) == 0  # somebody has cut it meanwhile
        assert untouched(session, job_id, inputs=5) == range(2, 3)
        assert recall(session, claim, [0], everything, seconds=60) == {0}
        shards.finish(session, claim)
    row, results = job(database, claim)
    assert (row.state, row.done, [r.index for r in results]) == ("running", 220, [0, 1])

    claim = asked(database, shard_inputs=1, cut=1)
    with database.write() as session:
        job_id = session.get_one(Shard, claim.id).certification_id
        recall(session, claim, [0], everything, seconds=60)
        shards.finish(session, claim)
        assert finish_known(session, job_id, untouched(session, job_id, inputs=5), everything) == 2
    assert job(database, claim)[0].state == "succeeded"
