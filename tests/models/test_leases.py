from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from models.base import now
from models.bell import Bell
from models.database import Database
from models.repositories import intake, leases
from models.repositories.leases import Claim, LostClaim
from models.states import IntakeState
from models.tables import Model
from tests import factories


@pytest.fixture
def model_id(database: Database) -> str:
    with database.write() as session:
        return factories.validating_model(session).id


def take(database: Database, model_id: str, worker: str = "w", seconds: float = 60) -> Claim | None:
    with database.write() as session:
        return leases.claim(session, "model", model_id, worker=worker, seconds=seconds)


def taken(database: Database, model_id: str) -> Claim:
    claim = take(database, model_id)
    assert claim is not None
    return claim


def expire(database: Database, model_id: str) -> None:
    with database.write() as session:
        past = now() - timedelta(seconds=1)
        session.execute(update(Model).where(Model.id == model_id).values(lease_expires_at=past))


def test_registering_rings_after_commit(database: Database, bells: list[Bell], model_id: str) -> None:
    assert bells == [Bell("model", model_id)]


def test_a_transaction_that_fails_rings_for_nothing(database: Database, bells: list[Bell]) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as session:
        factories.validating_model(session)
        raise ZeroDivisionError
    assert bells == []
    with database.read() as session:
        assert session.query(Model).count() == 0


def test_of_many_claims_at_once_one_gets_it(database: Database, model_id: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda i: take(database, model_id, f"worker {i}"), range(8)))
    assert len([claim for claim in claims if claim is not None]) == 1


def test_an_expired_lease_can_be_taken_and_the_former_holder_can_write_no_more(
    database: Database, model_id: str
) -> None:
    first = taken(database, model_id)
    assert take(database, model_id) is None
    expire(database, model_id)
    second = taken(database, model_id)
    assert (first.fence, second.fence, second.attempts) == (1, 2, 2)
    writes: tuple[Callable[[Session], object], ...] = (
        lambda s: leases.renew(s, first, seconds=60),
        lambda s: leases.release(s, first, blameless=True),
        lambda s: intake.accept(s, first, {}),
        lambda s: intake.reject(s, first, {}),
    )
    for write in writes:
        with pytest.raises(LostClaim), database.write() as session:
            write(session)
    with database.write() as session:
        intake.accept(session, second, {"count": 1})
    with database.read() as session:
        row = session.get_one(Model, model_id)
        assert (row.state, row.summary) == (IntakeState.READY, {"count": 1})


def test_what_has_ended_can_not_be_claimed_or_ended_again(database: Database, model_id: str) -> None:
    claim = taken(database, model_id)
    with database.write() as session:
        intake.reject(session, claim, {"title": "bad"})
    assert take(database, model_id) is None
    with pytest.raises(LostClaim), database.write() as session:
        intake.accept(session, claim, {})


def test_a_release_frees_the_row_at_once_and_a_blameless_one_does_not_count(database: Database, model_id: str) -> None:
    for blameless, attempts in ((True, 1), (False, 1), (False, 2)):
        claim = taken(database, model_id)
        assert claim.attempts == attempts
        with database.write() as session:
            leases.release(session, claim, blameless=blameless)
    assert taken(database, model_id).attempts == 3


def test_a_renewed_lease_holds(database: Database, model_id: str) -> None:
    claim = taken(database, model_id)
    expire(database, model_id)
    with database.write() as session:
        leases.renew(session, claim, seconds=60)
    assert take(database, model_id) is None


def test_unattended_is_what_nobody_works_on(database: Database, model_id: str) -> None:
    def unattended() -> list[Bell]:
        with database.read() as session:
            return list(leases.unattended(session))

    assert unattended() == [Bell("model", model_id)]
    claim = taken(database, model_id)
    assert unattended() == []
    expire(database, model_id)
    assert unattended() == [Bell("model", model_id)]
    with database.write() as session:
        leases.renew(session, claim, seconds=60)
        intake.reject(session, claim, {})
    assert unattended() == []


def test_the_same_bytes_and_settings_are_one_model_even_when_asked_for_at_once(database: Database) -> None:
    def register(_: int) -> tuple[str, bool]:
        with database.write() as session:
            upload = factories.upload(session, b"same")
            model, new = intake.add_model(session, upload, name="x", settings={"input": {}}, external={})
            return model.id, new

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(register, range(6)))
    assert len({model_id for model_id, _ in answers}) == 1
    assert sum(new for _, new in answers) == 1
    with database.write() as session:
        other = intake.add_model(
            session, factories.upload(session, b"same"), name="x", settings={"input": {"mean": [0.5]}}, external={}
        )
        assert other[1]


def test_abandoned_is_what_a_lost_worker_left_not_what_was_given_back(database: Database, model_id: str) -> None:
    def abandoned() -> str | None:
        with database.read() as session:
            return leases.abandoned(session, "model")

    assert abandoned() is None  # never taken
    claim = take(database, model_id)
    assert claim is not None and abandoned() is None
    with database.write() as session:
        leases.renew(session, claim, seconds=-1)
    assert abandoned() == model_id
    with database.write() as session:
        leases.release(session, claim, blameless=True)
    assert abandoned() is None


def test_what_was_rejected_can_be_registered_anew(database: Database, model_id: str) -> None:
    claim = taken(database, model_id)
    with database.write() as session:
        intake.reject(session, claim, {"title": "over the limit"})
    with database.write() as session:
        again = factories.validating_model(session)
        assert again.id != model_id
        assert again.state is IntakeState.VALIDATING
