"""In a tenant's session there is nothing but its own rows, however they are asked for; what could show others' is
refused."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Select, delete, exists, func, insert, select, text, update
from sqlalchemy.orm import Session, aliased

from models.base import Base
from models.database import Database
from models.principal import DEFAULT_TENANT, EVERYTHING, Principal
from models.repositories import certifications, keys, reports, uploads
from models.tables import Answer, Certification, Dataset, Fact, Key, Ledger, Model, Report, Result, Shard, Upload
from models.tables.owned import OfCertification, Owned, Unowned
from models.tenant_session import NotOneTenants, TenantSession
from tests import factories

OWN, OTHER = (Principal(tenant, f"key_{tenant}", EVERYTHING) for tenant in ("own", "other"))
OF_INSTALLATION = {"facts", "loose_blobs", "workers"}
OTHERS_JOB = aliased(Certification)


@pytest.fixture
def jobs(database: Database) -> dict[str, str]:
    """The id of a certification of each of two tenants, who have the same rows in every table."""
    with database.write() as session:
        made = {}
        for tenant in (OWN.tenant, OTHER.tenant):
            job = factories.certification(session, tenant=tenant)
            made[tenant] = job.id
            own = {"tenant": tenant, "model": "m", "input": "x"}
            session.add(Ledger(**own, noise="{}", stage="pilot", samples=1, counts=[1]))
            session.add(Answer(**own, question="q", certification_id=job.id, abstained=True, detail={}))
            session.add(Result(certification_id=job.id, index=0, abstained=True, detail={}))
            session.add(Report(certification_id=job.id, document={}))
            keys.add(session, tenant, "key", tenant)
        return made


def test_every_table_says_whose_its_rows_are() -> None:
    """A new one that does not is named here; a request would be refused its rows."""
    owned = {m.tables[0].name for m in Base.registry.mappers if issubclass(m.class_, (Owned, OfCertification))}
    assert Base.metadata.tables.keys() - owned == OF_INSTALLATION


@pytest.mark.parametrize("table", [Upload, Model, Dataset, Certification, Ledger, Answer, Key])
def test_each_table_has_its_own_rows(database: Database, jobs: dict[str, str], table: type[Owned]) -> None:
    with database.read() as session:
        assert set(session.scalars(select(table.tenant))) == {OWN.tenant, OTHER.tenant}
    with database.read_as(OWN) as session:
        assert set(session.scalars(select(table.tenant))) == {OWN.tenant}


@pytest.mark.parametrize("table", [Result, Report, Shard])
def test_what_is_of_a_certification_is_its_tenants(database: Database, jobs: dict[str, str], table: Any) -> None:
    for principal in (OWN, OTHER):
        with database.read_as(principal) as session:
            assert set(session.scalars(select(table.certification_id))) == {jobs[principal.tenant]}


READS: dict[str, Select[Any]] = {
    "rows": select(Certification.tenant),
    "alias": select(OTHERS_JOB.tenant),
    "aggregate": select(func.max(Certification.tenant)).select_from(Certification),
    "join": select(Certification.tenant).join(Certification.model),
    "product": select(Model.tenant).join(Certification, sa.true()),
    "subquery": select(select(Certification.tenant).subquery().c.tenant),
    "common table": select(select(Certification.tenant).cte().c.tenant),
    "scalar": select(select(Certification.tenant).order_by(Certification.tenant).limit(1).scalar_subquery()).where(
        Model.id != ""
    ),
}


@pytest.mark.parametrize("name", READS)
def test_however_a_query_is_written(database: Database, jobs: dict[str, str], name: str) -> None:
    with database.read_as(OWN) as session:
        assert set(session.scalars(READS[name])) == {OWN.tenant}
        assert not session.scalars(select(Model.tenant).where(exists().where(OTHERS_JOB.tenant == OTHER.tenant))).all()
        assert session.scalar(select(func.count()).where(Certification.id != "")) == 1


def test_rows_of_others_are_not_there_by_their_ids(database: Database, jobs: dict[str, str]) -> None:
    with database.read_as(OWN) as session:
        own, other = jobs[OWN.tenant], jobs[OTHER.tenant]
        assert session.get(Certification, own) and not session.get(Certification, other)
        assert certifications.get(session, other, lock=True) is None
        assert session.get(Result, (own, 0)) and not session.get(Result, (other, 0))
        assert reports.get(session, own) is not None and reports.get(session, other) is None
        assert session.get_one(Certification, own).model.tenant == OWN.tenant


def test_changes_reach_own_rows_alone(database: Database, jobs: dict[str, str]) -> None:
    with database.write_as(OWN) as session:
        changed = session.scalars(update(Shard).values(attempts=7).returning(Shard.certification_id))
        assert set(changed) == {jobs[OWN.tenant]}
        assert len(session.scalars(update(Key).values(name="changed").returning(Key.id)).all()) == 1
        session.execute(delete(Result))
    with database.read() as session:
        assert session.scalars(select(Result.certification_id)).all() == [jobs[OTHER.tenant]]
        assert set(session.execute(select(Key.tenant, Key.name))) == {("own", "changed"), ("other", "key")}


REFUSED: dict[str, Callable[[Session], object]] = {
    "text": lambda session: session.execute(text("SELECT * FROM models")),
    "text as rows": lambda session: session.scalars(select(Model).from_statement(text("SELECT * FROM models"))),
    "plain table": lambda session: session.execute(select(Model.__table__)),
    "connection": lambda session: session.connection().execute(text("SELECT * FROM models")),
    "insert": lambda session: session.execute(insert(Upload).values(id="upl", tenant="own", sha256="", size=0)),
    "of nobody": lambda session: session.get(Fact, "noise-secret"),
    "beside own rows": lambda session: session.execute(select(Model.id, Fact.value).join(Fact, sa.true())),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_kept_to_one_tenant_is_refused(database: Database, jobs: dict[str, str], name: str) -> None:
    with database.read_as(OWN) as session, pytest.raises(NotOneTenants, match=r"models\.tables"):
        REFUSED[name](session)


@pytest.mark.parametrize("own", [True, False])
def test_a_row_without_a_tenant_is_refused(database: Database, own: bool) -> None:
    """Be it made for a request or by a worker."""
    opened = database.write_as(OWN) if own else database.write()
    with pytest.raises(Unowned, match="names its tenant"), opened as session:
        session.add(Upload(id="upl", sha256="", size=0))
    with database.read() as session:
        assert not session.scalars(select(Upload)).all()


def test_a_row_of_another_tenant_is_not_written(database: Database, jobs: dict[str, str]) -> None:
    def new(session: TenantSession) -> None:
        uploads.add(session, OTHER.tenant, sha256="", size=0)

    def given_away(session: TenantSession) -> None:
        session.get_one(Certification, jobs[OWN.tenant]).tenant = OTHER.tenant

    def part(session: TenantSession) -> None:
        session.add(Result(certification_id=jobs[OTHER.tenant], index=1, abstained=True, detail={}))

    for write in (new, given_away, part):
        with pytest.raises(Unowned), database.write_as(OWN) as session:
            write(session)
    with database.write_as(OWN) as session:
        assert uploads.add(session, OWN.tenant, sha256="", size=0).tenant == OWN.tenant


def test_the_same_bytes_of_two_tenants_are_two_rows(database: Database) -> None:
    """Both ready, with votes and answers of their own; sent again each is what it was."""
    with database.write() as session:
        made: dict[str, tuple[Model, Dataset]] = {
            tenant: (factories.ready_model(session, tenant=tenant), factories.ready_dataset(session, tenant=tenant))
            for tenant in (OWN.tenant, OTHER.tenant, DEFAULT_TENANT)
        }
        assert len({row.id for rows in made.values() for row in rows}) == 6
        for tenant, rows in made.items():
            assert {row.tenant for row in rows} == {row.upload.tenant for row in rows} == {tenant}
            assert {row.state for row in rows} == {"ready"}
            again = factories.ready_model(session, tenant=tenant), factories.ready_dataset(session, tenant=tenant)
            assert again == rows
