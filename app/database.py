"""The only way from a request to the database: as somebody. No other module here makes sessions."""

from contextlib import AbstractContextManager

from models.database import Database
from models.principal import Principal
from models.repositories import keys, loose_blobs, presence
from models.repositories.figures import Figures, figures
from models.repositories.waiting_reason import waiting_reason
from models.states import TERMINAL
from models.tables import Certification, Dataset, Model, Presence
from models.tenant_session import TenantSession
from models.versions import compatible


class TenantDatabase:
    """The database as requests have it. What is not of one tenant is done here, and gives nothing of a tenant away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, principal: Principal) -> AbstractContextManager[TenantSession]:
        """A session for reading one consistent state of what is the principal's tenant's."""
        return self._database.read_as(principal)

    def write(self, principal: Principal) -> AbstractContextManager[TenantSession]:
        """The same for writing: it commits at the end of the block, or not at all; its bells ring after the commit."""
        return self._database.write_as(principal)

    def authenticate(self, text: str) -> Principal | None:
        """Who is behind the valid key whose text this is."""
        with self._database.read() as session:
            return keys.authenticate(session, text)

    def workers(self, principal: Principal) -> list[Presence]:
        """Who is there. Of what they do, the rows of other tenants are not named."""
        with self._database.read() as session:
            workers = presence.alive(session)
            session.expunge_all()
        with self.read(principal) as own:
            known = presence.own_jobs(own, workers)
        for worker in workers:
            if worker.work and worker.work["job"] not in known:
                worker.work = {"noun": worker.work["noun"], "since": worker.work["since"]}
        return list(workers)

    def waiting_reason(self, row: Model | Dataset | Certification) -> str | None:
        """Why the row waits, if it does."""
        if row.state in TERMINAL:
            return None
        with self._database.read() as session:
            return waiting_reason(session, row)

    def figures(self) -> Figures:
        """How much there is to do and who does it, of all tenants together."""
        with self._database.read() as session:
            return figures(session)

    def announce(self, sha256: str) -> None:
        """A blob is about to be written, whoever sent it."""
        with self._database.write() as session:
            loose_blobs.announce(session, sha256)

    def migrated(self) -> bool:
        """Whether it can be reached, and this code may work on it (``models.versions``)."""
        with self._database.read() as session:
            return compatible(session.connection())

    def close(self) -> None:
        """Give all connections back."""
        self._database.close()
