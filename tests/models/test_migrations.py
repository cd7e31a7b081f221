"""Every migration, up and down, on a database with rows."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import delete, func, inspect, select, text, update
from sqlalchemy.exc import IntegrityError

from app.planning import planned
from models.base import Base
from models.bootstrap import ROOT, bootstrap
from models.database import Database
from models.plan import Plan
from models.principal import DEFAULT_TENANT, EVERYTHING, Principal
from models.repositories import answers, deletion, keys, ledger, loose_blobs
from models.repositories.answers import Question
from models.repositories.ledger import Beginning, Streams
from models.settings import Settings
from models.states import JobState
from models.tables import (
    Answer,
    Batch,
    Certification,
    Chunk,
    Dataset,
    Key,
    Ledger,
    LooseBlob,
    Model,
    Result,
    Shard,
    Upload,
)
from radii.methods import parse_method
from tests import factories


@pytest.fixture
def fresh(tmp_path: Path, empty_database_url: str) -> Settings:
    return Settings(data_dir=tmp_path / "data", database_url=empty_database_url)


def test_migrations_make_exactly_the_tables(fresh: Settings) -> None:
    bootstrap(fresh)
    database = Database(fresh.database)
    with database.engine.connect() as connection:
        config = Config(toml_file=ROOT / "pyproject.toml")
        config.attributes["connection"] = connection
        command.check(config)  # raises where the tables of models/ differ
        assert set(inspect(connection).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
        command.downgrade(config, "base")
        connection.commit()
        assert set(inspect(connection).get_table_names()) == {"alembic_version"}
    database.close()


def test_votes_that_a_generator_of_before_may_have_drawn_are_forgotten(fresh: Settings) -> None:
    database = Database(fresh.database)
    config = Config(toml_file=ROOT / "pyproject.toml")
    before = sa.table("ledger", *(sa.column(c.name, c.type) for c in Ledger.__table__.c if c.name != "tenant"))
    noises = [
        ledger.name({"noise": law, "sigma": 0.25, "grid": grid})
        for law in ("gaussian", "laplace")
        for grid in (None, [0, 1])
    ]
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0007")
        for noise in noises:
            for stage in ("pilot", "estimate", "median {}"):
                row = {"model": "m", "input": "x", "noise": noise, "stage": stage, "samples": 1, "counts": [1, 0]}
                connection.execute(before.insert().values(row))
        command.upgrade(config, "head")
        kept = {(noise, stage) for noise, stage in connection.execute(select(Ledger.noise, Ledger.stage))}
        connection.commit()
    database.close()
    counted = {(noise, stage) for noise in noises[1:] for stage in ("pilot", "estimate")}
    assert kept == counted | {(noise, "median {}") for noise in noises}


def test_what_abstained_before_has_no_answer_any_more(fresh: Settings) -> None:
    """label, prediction, radius of four inputs as 0008 kept them; the second abstained, with the right class."""
    bootstrap(fresh)
    kept = [(1, 1, 0.5), (2, 2, None), (3, 1, 0.5), (4, None, None)]
    decide = {"kind": "smoothing", "mode": "decide", "target_radius": 0.5}
    was = {"inputs": 4, "abstained": 2, "accuracy": 0.5, "certified_accuracy": 0.25, "median_radius": 0.25}
    cases: list[tuple[dict[str, Any], JobState]] = [
        ({"kind": "smoothing"}, JobState.SUCCEEDED),
        (decide, JobState.CANCELLED),
        ({"kind": "lipschitz"}, JobState.FAILED),
    ]
    database = Database(fresh.database)
    with database.write() as session:
        jobs = []
        for method, state in cases:
            job = factories.certification(session, inputs=4)
            job.method, job.state, job.summary = method, state, was
            jobs.append(job.id)
            for index, (label, prediction, radius) in enumerate(kept):
                row = {"index": index, "label": label, "prediction": prediction, "radius": radius}
                session.add(Result(certification_id=job.id, **row, abstained=radius is None, detail={"seconds": 1.0}))
    config = Config(toml_file=ROOT / "pyproject.toml")
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0008")
        command.upgrade(config, "head")
        connection.commit()
    with database.read() as session:
        for job_id, (method, _) in zip(jobs, cases, strict=True):
            rows = session.scalars(select(Result).where(Result.certification_id == job_id).order_by(Result.index)).all()
            assert [row.prediction for row in rows] == [1, None, 1, None]
            said = [row.detail.get("pilot_class", "nothing") for row in rows]
            assert said == ([1, 2, 1, None] if method["kind"] == "smoothing" else ["nothing"] * 4)
        radii, decided, failed = (session.get_one(Certification, job_id).summary for job_id in jobs)
    counts = {"inputs": 4, "abstained": 2, "inputs_asked": 4}
    assert radii == counts | {"complete": True, "accuracy": 0.25, "median_radius": 0.25}
    at_target = {"at_target": {"radius": 0.5, "certified_accuracy": 0.25}}
    assert decided == counts | {"complete": False, "accuracy": 0.25, "median_radius": 0.25} | at_target
    nothing = dict.fromkeys(("accuracy", "median_radius", "at_target", "decisions"))
    assert failed == counts | {"complete": False} | nothing
    database.close()


def test_mean_scores_under_way_are_counted_anew(fresh: Settings) -> None:
    """Two jobs that have one result of 110 samples and 100 samples of another input; only one is of mean scores."""
    bootstrap(fresh)
    database = Database(fresh.database)
    jobs = {}
    with database.write() as session:
        for scores in ("soft", "hard"):
            job = factories.certification(session, inputs=5, cost=110)
            job.method, job.state = {"kind": "smoothing", "scores": scores}, JobState.RUNNING
            job.done_by_ended = 210
            row = {"index": 0, "label": 1, "prediction": 1, "radius": 0.5, "abstained": False, "detail": {}}
            session.add(Result(certification_id=job.id, **row))
            session.add(Chunk(certification_id=job.id, index=1, stage="pilot", number=0, counts=[100]))
            jobs[job.id] = (110, 0) if scores == "soft" else (210, 1)
    config = Config(toml_file=ROOT / "pyproject.toml")
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0010")
        command.upgrade(config, "head")
        connection.commit()
    with database.read() as session:
        for job_id, known in jobs.items():
            chunks = session.scalar(select(func.count()).where(Chunk.certification_id == job_id))
            assert (session.get_one(Certification, job_id).done, chunks) == known
    database.close()


def test_shards_of_before_have_lost_nothing(fresh: Settings) -> None:
    """Those that somebody has begun; what nobody has is cut when it is taken."""
    bootstrap(fresh)
    database = Database(fresh.database)
    with database.write() as session:
        job = factories.certification(session, inputs=5, shard_inputs=2).id
        session.execute(update(Shard).where(Shard.certification_id == job, Shard.start == 2).values(fence=1))
    config = Config(toml_file=ROOT / "pyproject.toml")
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0011")
        command.upgrade(config, "head")
        connection.commit()
    with database.read() as session:
        shards = session.scalars(select(Shard).where(Shard.certification_id == job).order_by(Shard.start)).all()
        assert [(shard.start, shard.stop, shard.cause) for shard in shards] == [
            (0, 2, None),
            (2, 4, None),
        ]
        assert session.get_one(Certification, job).unsharded == 1
    database.close()


def test_certifications_of_before_have_the_plans_that_they_would_get_today(fresh: Settings) -> None:
    """Of every kind, with all that it takes and with what its first version took."""
    questions: list[dict[str, Any]] = [
        {"kind": "smoothing", "sigma": 0.25},
        {"kind": "smoothing", "sigma": 0.25, "n0": 10, "n": 200, "alpha": 0.01, "family_wise": True},
        {"kind": "smoothing", "sigma": 0.25, "mode": "decide", "target_radius": 0.5},
        {"kind": "smoothing", "sigma": 0.25, "scores": "soft"},
        {"kind": "lipschitz"},
        {"kind": "prediction", "sigma": 0.25, "n": 50},
        {"kind": "prediction", "sigma": 0.25},
        {"kind": "median", "sigma": 0.25, "radius": 0.1},
        {"kind": "splitting", "sigma": 0.25},
    ]
    bootstrap(fresh)
    database = Database(fresh.database)
    expected: dict[str, Plan] = {}
    with database.write() as session:
        for question in questions:
            for method in (question, parse_method(question).model_dump()):
                job = factories.certification(session, inputs=5)
                job.method = method
                expected[job.id] = planned(parse_method(question), 5)
    config = Config(toml_file=ROOT / "pyproject.toml")
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0011")
        command.upgrade(config, "head")
        connection.commit()
    with database.read() as session:
        assert {job.id: job.plan for job in session.scalars(select(Certification))} == expected
    database.close()


def test_shards_and_progress_outlive_a_migration(fresh: Settings) -> None:
    """Down: what was not cut yet is, and progress is one sum. Up again: nothing is cut twice, what nobody has begun is
    not cut yet, and the sum stays."""
    bootstrap(fresh)
    database = Database(fresh.database)
    with database.write() as session:
        waits = factories.certification(session, inputs=7, shard_inputs=2).id
        session.execute(delete(Shard).where(Shard.certification_id == waits, Shard.start >= 2))
        session.get_one(Certification, waits).unsharded = 5
        runs = factories.certification(session, inputs=4, shard_inputs=2)
        runs.state, runs.done_by_ended = JobState.RUNNING, 220
        session.flush()
        begun = Shard.certification_id == runs.id, Shard.start == 2
        session.execute(update(Shard).where(*begun).values(state=JobState.RUNNING, done=100))
        jobs: dict[str, tuple[list[list[int]], int]] = {waits: ([], 7), runs.id: ([[0, 1], [2, 3]], 0)}
    config = Config(toml_file=ROOT / "pyproject.toml")
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0011")
        done = {job: connection.scalar(text(f"SELECT done FROM certifications WHERE id = '{job}'")) for job in jobs}
        assert list(done.values()) == [0, 320]
        command.upgrade(config, "head")
        connection.commit()
    with database.read() as session:
        for job, (cut, left) in jobs.items():
            row = session.get_one(Certification, job)
            assert (row.done, row.unsharded, row.fence) == (done[job], left, 0)
            query = select(Shard).where(Shard.certification_id == job).order_by(Shard.start)
            assert [list(shard.indices) for shard in session.scalars(query)] == cut
    database.close()


def test_parts_of_an_input_are_one_shard_again(fresh: Settings) -> None:
    """Down: who takes it finds what all of them counted, and progress stays. Up again: what has ended is due to end."""
    bootstrap(fresh)
    database = Database(fresh.database)
    with database.write() as session:
        job = factories.certification(session, inputs=2, shard_inputs=1)
        over = factories.certification(session, inputs=1, shard_inputs=1)
        job.state = over.state = JobState.RUNNING
        first = Shard.certification_id == job.id, Shard.start == 0
        part = {"first_chunk": 0, "stop_chunk": 2, "state": JobState.RUNNING, "done": 30, "fence": 1}
        session.execute(update(Shard).where(*first).values(**part))
        for place in (2, 4):
            row = {"first_chunk": place, "stop_chunk": place + 2, "state": JobState.RUNNING, "done": 20, "fence": 1}
            session.add(Shard(id=f"shd_{place}", certification_id=job.id, start=0, stop=1, **row))
        session.execute(update(Shard).where(Shard.certification_id == over.id).values(state=JobState.SUCCEEDED))
        session.flush()
        session.refresh(job)
        assert job.done == 70
    config = Config(toml_file=ROOT / "pyproject.toml")
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0017")
        left = connection.execute(text(f"SELECT start, stop FROM shards WHERE certification_id = '{job.id}'")).all()
        assert sorted(tuple(row) for row in left) == [(0, 1), (1, 2)]
        command.upgrade(config, "head")
        connection.commit()
    with database.read() as session:
        assert session.get_one(Certification, job.id).done == 70
        assert session.get_one(Certification, job.id).due_at is None
        assert session.get_one(Certification, over.id).due_at is not None
    database.close()


def test_everything_of_before_is_the_default_tenants(fresh: Settings) -> None:
    """And is found again by what it was known by; what belongs to another tenant is known to nobody once down again."""
    bootstrap(fresh)
    database = Database(fresh.database)
    key = fresh.key_file.read_text().strip()
    vote = {"input": "x", "noise": "{}", "stage": "pilot", "samples": 10, "counts": [10, 0]}
    answer = {"input": "x", "question": "q", "certification_id": "c", "radius": 0.5, "abstained": False, "detail": {}}
    tenants = (DEFAULT_TENANT, "other")
    with database.write() as session:
        jobs = [factories.certification(session, tenant=tenant) for tenant in tenants]
        rows = {tenant: (job.id, job.model_id, job.dataset_id) for tenant, job in zip(tenants, jobs, strict=True)}
        session.add_all(Result(certification_id=job.id, index=0, abstained=True, detail={}) for job in jobs)
        for tenant in tenants:
            session.add(Ledger(tenant=tenant, model="m", **vote))
            session.add(Answer(tenant=tenant, model="m", **answer))
    config = Config(toml_file=ROOT / "pyproject.toml")
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0014")
        for table in ("models", "datasets"):
            marks = connection.execute(text(f"SELECT id, fingerprint FROM {table}"))
            before: dict[str, str] = {row.id: row.fingerprint for row in marks}
            own, other = (before[row_id] for tenant in tenants for row_id in rows[tenant] if row_id in before)
            assert len(own) == 64 and other == f"other:{own}"
        for table in ("ledger", "answers"):
            assert connection.scalar(text(f"SELECT count(*) FROM {table}")) == 1
            connection.execute(text(f"UPDATE {table} SET model = 'before'"))  # a row that this version never wrote
        command.upgrade(config, "head")
        connection.commit()
    with database.write() as session:
        for owned in (Upload, Model, Dataset, Certification, Ledger, Answer, Key):
            assert set(session.scalars(select(owned.tenant))) == {DEFAULT_TENANT}
        (known,) = session.scalars(select(Key))
        assert keys.authenticate(session, key) == Principal(DEFAULT_TENANT, known.id, EVERYTHING)
        _, model_id, dataset_id = rows[DEFAULT_TENANT]
        for found, tables in ((2, (Model, Dataset, Certification, Result)), (1, (Ledger, Answer)), (0, (Shard,))):
            assert {session.scalar(select(func.count()).select_from(table)) for table in tables} == {found}
        again = factories.certification(session)
        assert (again.model_id, again.dataset_id) == (model_id, dataset_id)  # the same bytes
        streams = Streams(DEFAULT_TENANT, "before", "{}", {0: "x"})
        assert ledger.beginnings(session, streams, "pilot", 10) == {0: Beginning([10, 0])}
        question = Question(DEFAULT_TENANT, "before", "q", {0: "x"})
        assert answers.known(session, question, [0])[0].radius == 0.5
        ledger.add(session, [{"tenant": "other", "model": "before", "scores": None, **vote}])  # beside it
        assert session.scalar(select(func.count()).select_from(Ledger)) == 2
    database.close()


def test_which_were_asked_for_together_is_all_that_going_down_forgets(fresh: Settings) -> None:
    bootstrap(fresh)
    database = Database(fresh.database)
    with database.write() as session:
        job = factories.certification(session)
        batch = Batch(id="bat_1", tenant=DEFAULT_TENANT, fingerprint="default:f")
        session.add(batch)
        session.flush()
        job.batch_id, job.batch_index = batch.id, 0
        session.add(Result(certification_id=job.id, index=0, abstained=True, detail={}))
    config = Config(toml_file=ROOT / "pyproject.toml")
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0017")
        assert connection.scalar(text("SELECT count(*) FROM certifications")) == 1
        command.upgrade(config, "head")
        connection.commit()
    with database.write() as session:
        assert session.scalars(select(Batch)).all() == []
        kept = session.get_one(Certification, job.id)
        assert (kept.batch_id, kept.batch_index, kept.unsharded) == (None, None, 5)  # cut anew, as nobody has begun
        for table, count in ((Result, 1), (Shard, 0)):
            of_job = select(func.count()).select_from(table).where(table.certification_id == job.id)
            assert session.scalar(of_job) == count
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(update(Certification).values(batch_id="bat_nowhere"))
    database.close()


def test_what_was_deleted_stays_so_across_a_migration(fresh: Settings) -> None:
    """Down: rows that are on their way out go at once, for nobody would know later that that."""
    bootstrap(fresh)
    database = Database(fresh.database)
    with database.write() as session:
        jobs = [factories.certification(session, tenant=tenant) for tenant in (DEFAULT_TENANT, "other")]
        session.add_all(Result(certification_id=job.id, index=0, abstained=True, detail={}) for job in jobs)
        kept, upload = jobs[0].id, jobs[1].model.upload_id
        needing = deletion.needing(session, "upl", [upload])
        for prefix, ids in (needing | {"upl": [upload]}).items():
            deletion.bury(session, prefix, ids)
        loose_blobs.announce(session, "a" * 64)
    config = Config(toml_file=ROOT / "pyproject.toml")
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0017")
        connection.commit()
        command.upgrade(config, "head")
        connection.commit()
    with database.read() as session:
        assert session.scalars(select(Certification.id)).all() == [kept]
        assert session.scalars(select(Result.certification_id)).all() == [kept]
        assert session.scalar(select(func.count()).select_from(Upload)) == 3
        assert session.scalar(select(func.count()).select_from(LooseBlob)) == 0
    database.close()
