"""What is kept of a certification's method besides its parameters: all that the tables need to know of it, so that
nobody here asks which method it is. Its specification says it (``radii.methods``); it never changes."""

from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Dialect, TypeDecorator

from models.base import JSON_COLUMN, Json


@dataclass(frozen=True)
class Stage:
    """Samples of an input that are counted in chunks, to one end."""

    name: str
    counts: str
    """The field of a result's detail that holds the sum of its chunks."""
    samples: int | None = None
    """How many, of those whose streams the ledger knows; None where it keeps nothing."""
    keeps: tuple[str, ...] = ()
    """Other fields of the detail that the ledger keeps, of the very same question."""


@dataclass(frozen=True)
class Plan:
    """Unless it says otherwise that of a deterministic method of classifiers, without samples."""

    stages: tuple[Stage, ...] = ()
    chance: float = 0.0
    """That an attack on an input contradicts its certificate, at most."""
    passing: tuple[str, ...] = ()
    """Fields of a result's detail that are of this certification, and not of the answer."""
    figures: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Figures of the summary that are taken from the report, without which no answer stands; and their fields."""
    classes: bool = True
    """Whether predictions are classes, right or wrong."""
    radii: bool = True
    """Whether each input has a radius of its own."""
    target_radius: float | None = None
    """The only radius that is asked about."""

    @property
    def ledger(self) -> dict[str, int]:
        """The stages that the ledger keeps, and how many samples of each are asked for."""
        return {stage.name: stage.samples for stage in self.stages if stage.samples is not None}


class PlanColumn(TypeDecorator[Plan]):
    """A plan, kept as JSON."""

    impl = JSON_COLUMN
    cache_ok = True

    def process_bind_param(self, value: Plan | None, dialect: Dialect) -> Json | None:
        return None if value is None else asdict(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Plan | None:
        if value is None:
            return None
        stages = tuple(Stage(**stage | {"keeps": tuple(stage["keeps"])}) for stage in value["stages"])
        figures = {name: tuple(fields) for name, fields in value["figures"].items()}
        return Plan(**value | {"stages": stages, "passing": tuple(value["passing"]), "figures": figures})
