"""What a pool process has ready before its first bell. What takes seconds to import is started first, in a process of
its own, so that this one imports beside it."""

from contextlib import suppress

from models import storage
from models.storage import StorageFull
from workers.intake.limits import limits_of
from workers.intake.process import server
from workers.runner.process import Runner
from workers.worker import Worker


def intake(worker: Worker) -> None:
    """What forks for each file."""
    server(limits_of(worker.settings))
    import workers.intake.take_in  # noqa: F401


def certify(worker: Worker) -> None:
    """A runner. On a full disk it is started with the first shard."""
    runner = None
    with suppress(StorageFull), storage.reported():
        runner = Runner()
    from workers.supervisor import supervisor_of

    supervisor_of(worker).runner = runner
