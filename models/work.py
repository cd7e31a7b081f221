"""What workers work on, in one place: the nouns whose rows a worker takes, and all that is particular to each.

To add one: a table with the columns of ``Leased``, a function that works on a claimed row, one that gives up on it, and
an entry here. Functions are named ("module:function") and found when they are needed, because what works on a row is
above this module, and what gives up on it beside it.
"""

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, or_

from models.states import OPEN, IntakeState
from models.tables import Certification, Dataset, Model, Shard

INTAKE, CERTIFY = "intake", "certify"  # queues


@dataclass(frozen=True)
class Noun:
    """A kind of work."""

    name: str
    table: Any
    """The table of its rows: a class of ``Leased`` with ``id`` and ``state``."""
    open: Sequence[StrEnum]
    """States in which there may be work left."""
    queue: str
    task: str
    """The name of its Celery task, by which workers of other versions hear of it, too."""
    handler: str
    """``(worker, claim) -> Bell | None``: works on the row to its end; what the worker turns to next."""
    gives_up: str
    """``(session, claim, problem)``: ends the row as failed."""
    job: str = "id"
    """The column of what a user knows the row by."""
    due: ColumnElement[bool] | None = None
    """In an open state, whether there is work on the row itself; None: always."""
    sought: ColumnElement[bool] | None = None
    """What, by an index, holds of every row that a worker should be called for; None: ``due``, of rows without one."""
    in_turn: bool = False
    """Whether ``models.repositories.turns`` says which row is next: bells of such nouns say that there is work, and
    not which."""
    together: str = ""
    """``(worker, bell) -> bool``: works on the row whose turn it is and others like it, at once and to their ends, if
    they are of a kind for which it can; whether it did."""

    @property
    def handle(self) -> Callable[..., Any]:
        """The handler."""
        found: Callable[..., Any] = pkgutil.resolve_name(self.handler)
        return found

    @property
    def handle_together(self) -> Callable[..., bool] | None:
        """What works on many, where there is one."""
        found: Callable[..., bool] | None = pkgutil.resolve_name(self.together) if self.together else None
        return found

    @property
    def give_up(self) -> Callable[..., None]:
        """What ends a row as failed."""
        found: Callable[..., None] = pkgutil.resolve_name(self.gives_up)
        return found


NOUNS: dict[str, Noun] = {
    noun.name: noun
    for noun in (
        Noun(
            "model",
            Model,
            open=(IntakeState.VALIDATING,),
            queue=INTAKE,
            task="radii.intake_model",
            handler="workers.intake.take_in:take_in",
            gives_up="models.repositories.intake:reject",
        ),
        Noun(
            "dataset",
            Dataset,
            open=(IntakeState.VALIDATING,),
            queue=INTAKE,
            task="radii.intake_dataset",
            handler="workers.intake.take_in:take_in",
            gives_up="models.repositories.intake:reject",
        ),
        Noun(
            "certification",
            Certification,
            open=OPEN,
            queue=CERTIFY,
            task="radii.shard_or_end_certification",
            handler="workers.ending:end",
            gives_up="models.repositories.certifications:give_up",
            # To be ended: what lies before is the work of its shards.
            due=and_(
                Certification.unsharded == 0,
                ~exists()
                .where(Shard.certification_id == Certification.id, Shard.state.in_(OPEN))
                .correlate(Certification),
            ),
            sought=or_(Certification.unsharded > 0, Certification.due_at.is_not(None)),
            in_turn=True,
            together="workers.tiny:together",
        ),
        Noun(
            "shard",
            Shard,
            open=OPEN,
            queue=CERTIFY,
            task="radii.certify_shard",
            handler="workers.supervisor:certify",
            gives_up="models.repositories.shards:fail",
            job="certification_id",
            in_turn=True,
        ),
    )
}
