"""The only way from a request to the database: as somebody. No other module here makes sessions."""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from models import installation
from models.blobs import Blobs
from models.database import Database
from models.principal import Principal
from models.repositories import keys, loose_blobs, marks, presence
from models.repositories.figures import Figures, figures
from models.repositories.marks import Mark, Shown, Waited
from models.repositories.waiting_reason import waiting_reason
from models.states import TERMINAL
from models.tables import Certification, Dataset, Model, Presence
from models.tenant_session import TenantSession
from models.versions import compatible

KEY_SECONDS = 1.0  # that a valid key stays so unasked: a revoked one ends within that time
MOST_KEYS = 10_000


class TenantDatabase:
    """The database as requests have it. What is not of one tenant is done here, and gives nothing of a tenant away."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys: dict[str, tuple[Principal, float]] = {}

    def read(self, principal: Principal) -> AbstractContextManager[TenantSession]:
        """A session for reading one consistent state of what is the principal's tenant's."""
        return self._database.read_as(principal)

    def write(self, principal: Principal) -> AbstractContextManager[TenantSession]:
        """The same for writing: it commits at the end of the block, or not at all; its bells ring after the commit."""
        return self._database.write_as(principal)

    def known(self, text: str) -> Principal | None:
        """Who was behind the key whose text this is, at most ``KEY_SECONDS`` ago."""
        principal, until = self._keys.get(keys.digest(text), (None, 0.0))
        return principal if time.monotonic() < until else None

    def lately(self, text: str) -> bool:
        """Whether that was a valid key when it was last asked for."""
        return keys.digest(text) in self._keys

    def authenticate(self, text: str) -> Principal | None:
        """Who is behind the valid key whose text this is."""
        until = time.monotonic() + KEY_SECONDS
        with self._database.read() as session:
            principal = keys.authenticate(session, text)
        if principal is None:
            self._keys.pop(keys.digest(text), None)
            return None
        if len(self._keys) >= MOST_KEYS:
            self._keys.clear()
        self._keys[keys.digest(text)] = principal, until
        return principal

    def forget_keys(self) -> None:
        """One was revoked: look at all anew."""
        self._keys.clear()

    def marks(self, asked: Sequence[tuple[Principal, Shown, str]]) -> list[Mark | None]:
        """As ``marks.mark``, each of its principal's tenant."""
        found: dict[tuple[str, Shown, str], Mark | None] = {}
        with self._database.engine.connect() as connection:
            for principal, table, row_id in asked:
                key = (principal.tenant, table, row_id)
                if key not in found:
                    found[key] = marks.mark(connection, table, principal.tenant, row_id)
        return [found[principal.tenant, table, row_id] for principal, table, row_id in asked]

    def ended(self, waited: Mapping[Waited, Sequence[str]]) -> list[str]:
        """Those of the rows that have ended, whose they may be: it says nothing else of them."""
        with self._database.engine.connect() as connection:
            return [row_id for table, ids in waited.items() for row_id in marks.ended(connection, table, ids)]

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

    def confirm(self, blobs: Blobs) -> None:
        """As ``installation.confirm``."""
        installation.confirm(self._database, blobs)

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
