"""Removes what is kept no longer: one thread in each Celery process, beside the sweeper, which must not wait for it."""

import logging
import threading
import time
from functools import partial

from models import housekeeping, installation
from models.blob_stores import stored
from models.database import Database
from models.settings import Settings
from workers.causes import first_line

log = logging.getLogger(__name__)

TIDY_SECONDS = 60.0  # between two looks at the database
STRAYS_SECONDS = 86_400.0  # between two looks at the whole blob store


class Tidier(threading.Thread):
    """Does what ``models.housekeeping`` says, every minute."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="tidier", daemon=True)
        self.settings = settings
        self.stopping = threading.Event()

    def run(self) -> None:
        database = Database(self.settings.database)
        blobs = stored(self.settings, confirm=partial(installation.confirm, database))
        listed = time.monotonic()  # not at each start: it takes long where there is much
        while not self.stopping.wait(TIDY_SECONDS):
            try:
                if time.monotonic() - listed > STRAYS_SECONDS:
                    listed = time.monotonic()
                    housekeeping.note_strays(database, blobs)
                done = housekeeping.tidy(database, blobs, self.settings.keep_days)
                if any(done):
                    log.info("removed %s", done.words)
            except Exception as error:  # database or store away for a while
                log.warning("could not remove what is kept no longer (%s); trying again", first_line(error))
