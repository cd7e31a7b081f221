"""plans

What the tables are to know of a certification's method stands beside it, and no longer in the code that reads them.

Revision ID: 0013
Revises: 0012
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

JOBS = sa.table(
    "certifications",
    *(sa.column(name, sa.Integer) for name in ("start", "stop", "step")),
    sa.column("id", sa.String),
    *(sa.column(name, JSON) for name in ("method", "plan")),
)
DRAWN = ["executor", "batch_size", "device"]
BOUNDS = ["median", "lower", "upper", "noise", "executor", "batch_size"]
BOUND = ["upper", "norm", "rule", "vacuous"]
ATTACK_LEVEL = 1e-9


def upgrade() -> None:
    op.add_column("certifications", sa.Column("plan", JSON, nullable=False, server_default="{}"))
    connection = op.get_bind()
    for job in connection.execute(sa.select(JOBS)).all():
        plan = _plan(job.method, len(range(job.start, job.stop, job.step)))
        connection.execute(JOBS.update().where(JOBS.c.id == job.id).values(plan=plan))


def downgrade() -> None:
    op.drop_column("certifications", "plan")


def _plan(method: dict[str, Any], inputs: int) -> dict[str, Any]:
    kind, alpha = method["kind"], method.get("alpha", 0.001)
    plan: dict[str, Any] = {
        "stages": [],
        "chance": 0.0,
        "passing": DRAWN if kind in ("smoothing", "prediction") else [],
        "figures": {"bound": BOUND} if kind == "lipschitz" else {},
        "classes": kind != "median",
        "radii": kind not in ("prediction", "median"),
        "target_radius": method.get("target_radius"),
    }
    if kind == "smoothing":
        pilot, estimate = method.get("n0", 100), method.get("n", 100_000)
        plan["chance"] = ATTACK_LEVEL + (alpha / inputs if method.get("family_wise") else alpha)
        plan["stages"] = [_stage("pilot", "pilot_counts", pilot), _stage("estimate", "counts", estimate)]
    elif kind == "prediction":
        plan["stages"] = [_stage("predict", "counts", method.get("n", 1000))]
    elif kind == "median":
        plan["stages"] = [_stage("median", "counts", method.get("n", 10_000), BOUNDS)]
    elif kind == "splitting":
        plan["stages"] = [_stage("split", "counts", None)]
    return plan


def _stage(name: str, counts: str, samples: int | None, keeps: list[str] | None = None) -> dict[str, Any]:
    return {"name": name, "counts": counts, "samples": samples, "keeps": keeps or []}
