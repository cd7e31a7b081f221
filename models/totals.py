"""What a summary needs of the results of a certification, as sums: each shard's are added when it ends, so that ending
the certification reads no result again. Pure functions, but for the column.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from json import dumps
from typing import Any

from sqlalchemy import Dialect, TypeDecorator

from models.base import JSON_COLUMN, Json
from models.curve import Outcome
from models.plan import Plan

DECISIONS = ("certified", "not certified", "undecided")
CLAIMS = ("accuracy", "at_target", "median_radius", "decisions")
"""The figures of a summary that are worth no more than the certificates that they count."""
OF_AN_ATTACK = ("not_checked", "contradicted", "input")
"""What is kept of an attack: the adversarial input stays with its result."""


@dataclass(frozen=True)
class Totals:
    """Sums over some of the results."""

    inputs: int = 0
    abstained: int = 0
    labelled: int = 0
    right: int = 0
    """How many of those with a label are predicted to have it."""
    clean_known: int = 0
    """For how many of those with a label the network has an answer without noise."""
    clean_right: int = 0
    at_target: int = 0
    """How many have the radius that was to be decided, and the right prediction where there is a label."""
    decisions: dict[str, int] = field(default_factory=dict)
    attacks: dict[str, Json] = field(default_factory=dict)
    """What attacks on some of them came to, by index."""
    certified_before: int = 0
    """How many had been certified under other noises."""
    other_noises: list[Json] = field(default_factory=list)
    """Which noises those were, each once."""
    failed: list[int] = field(default_factory=list)
    """Which inputs failed: nothing is said of them, and no figure counts them as right."""

    def __add__(self, other: "Totals") -> "Totals":
        """The sums over the results of both, which have none in common."""
        noises = {dumps(noise, sort_keys=True): noise for noise in (*self.other_noises, *other.other_noises)}
        counts = {name: getattr(self, name) + getattr(other, name) for name in COUNTS}
        return Totals(
            **counts,
            decisions=dict(Counter(self.decisions) + Counter(other.decisions)),
            attacks=self.attacks | other.attacks,
            other_noises=[noises[key] for key in sorted(noises)],
            failed=sorted({*self.failed, *other.failed}),
        )


COUNTS = tuple(entry.name for entry in fields(Totals) if entry.type is int)


def totals(
    plan: Plan,
    outcomes: Sequence[Outcome],
    attacks: Mapping[int, Json],
    noises: Sequence[Sequence[Json]],
    failed: Sequence[int] = (),
) -> Totals:
    """The sums over results of a certification with that plan.

    ``attacks``: what those that were attacked say, by index; ``noises``: the other noises of each result with any;
    ``failed``: the indices of those that failed.
    """
    target = plan.target_radius
    labelled = [outcome for outcome in outcomes if outcome.label is not None and plan.classes]
    clean = [outcome for outcome in labelled if outcome.clean_prediction is not None]
    certified = [radius for outcome in outcomes if (radius := outcome.certified_radius) is not None]
    return Totals(
        inputs=len(outcomes),
        abstained=sum(outcome.abstained for outcome in outcomes),
        labelled=len(labelled),
        right=sum(outcome.label == outcome.prediction for outcome in labelled),
        clean_known=len(clean),
        clean_right=sum(outcome.label == outcome.clean_prediction for outcome in clean),
        at_target=0 if target is None else sum(radius >= target for radius in certified),
        decisions=dict(Counter(outcome.decision for outcome in outcomes if outcome.decision is not None)),
        attacks={
            str(index): {name: said[name] for name in OF_AN_ATTACK if name in said} for index, said in attacks.items()
        },
        certified_before=len(noises),
        failed=list(failed),
    ) + Totals(other_noises=[noise for of_one in noises for noise in of_one])


def summary(plan: Plan, total: Totals, median_radius: float | None) -> Json:
    """A few figures of a certification with that plan: what each means is said in ``app.figures.Summary``."""
    target = plan.target_radius
    certified = {"radius": target, "certified_accuracy": _share(total.at_target, total.inputs)}
    all_clean = total.clean_known == total.labelled
    failed = {"failed": len(total.failed), "failed_indices": total.failed} if total.failed else {}
    return failed | {
        "inputs": total.inputs,
        "abstained": total.abstained,
        "accuracy": _share(total.right, total.labelled),
        "clean_accuracy": _share(total.clean_right, total.labelled) if all_clean else None,
        "at_target": None if target is None else certified,
        "median_radius": median_radius if target is None and plan.radii else None,
        "decisions": None if target is None else {answer: total.decisions.get(answer, 0) for answer in DECISIONS},
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


class TotalsColumn(TypeDecorator[Totals]):
    """Totals, kept as JSON."""

    impl = JSON_COLUMN
    cache_ok = True

    def process_bind_param(self, value: Totals | None, dialect: Dialect) -> Json | None:
        if value is None:
            return None
        # Workers of earlier versions know of none that fail.
        return {name: said for name, said in asdict(value).items() if said or name != "failed"}

    def process_result_value(self, value: Any, dialect: Dialect) -> Totals | None:
        return None if value is None else Totals(**value)
