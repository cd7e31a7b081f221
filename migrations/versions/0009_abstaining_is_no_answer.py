"""abstaining is no answer

A result that abstained had the pilot's class as its prediction, and the accuracy of a summary counted it; the summary's
certified accuracy was that at radius 0, and did not say so. All of them become what they would be written as today.

Revision ID: 0009
Revises: 0008
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

JOBS = sa.table(
    "certifications",
    *(sa.column(name, sa.Integer) for name in ("start", "stop", "step")),
    *(sa.column(name, sa.String) for name in ("id", "state")),
    *(sa.column(name, JSON) for name in ("method", "summary")),
)
RESULTS = sa.table(
    "results",
    sa.column("certification_id", sa.String),
    *(sa.column(name, sa.Integer) for name in ("label", "prediction")),
    sa.column("radius", sa.Float),
    sa.column("abstained", sa.Boolean),
    sa.column("detail", JSON),
)


def upgrade() -> None:
    connection, results = op.get_bind(), RESULTS.c
    smoothing = sa.select(JOBS.c.id).where(JOBS.c.method["kind"].as_string() == "smoothing")
    of_pilot = RESULTS.update().where(results.certification_id.in_(smoothing))
    connection.execute(of_pilot.values(detail=_with_pilot_class(connection.dialect.name)))
    connection.execute(RESULTS.update().where(results.abstained).values(prediction=None))
    for job in connection.execute(sa.select(JOBS).where(JOBS.c.summary.is_not(None))).all():
        of_job = sa.select(sa.func.count(results.label)).where(results.certification_id == job.id)
        labelled, right = (
            connection.scalar(query) for query in (of_job, of_job.where(results.label == results.prediction))
        )
        connection.execute(JOBS.update().where(JOBS.c.id == job.id).values(summary=_summary(job, labelled, right)))


def downgrade() -> None:
    pass


def _with_pilot_class(dialect: str) -> Any:
    detail, pilot_class = RESULTS.c.detail, RESULTS.c.prediction
    if dialect == "postgresql":
        return detail.op("||")(sa.func.jsonb_build_object("pilot_class", pilot_class))
    return sa.func.json_set(detail, "$.pilot_class", pilot_class)


def _summary(job: Any, labelled: int, right: int) -> dict[str, Any]:
    target, figures = job.method.get("target_radius"), dict(job.summary)
    certified = figures.pop("certified_accuracy")
    figures |= {"inputs_asked": len(range(job.start, job.stop, job.step)), "complete": job.state == "succeeded"}
    if figures["accuracy"] is not None:
        figures["accuracy"] = right / labelled
    if target is not None:  # whose certified accuracy at radius 0 is that at the target
        figures["at_target"] = {"radius": target, "certified_accuracy": certified}
    if job.state == "failed":
        figures |= dict.fromkeys(("accuracy", "median_radius", "at_target", "decisions"))
    return figures
