"""The states of everything that takes time, and the one table of allowed moves.

intake (models and data sets):  validating -> ready | rejected
jobs (certifications, shards):  queued -> running -> succeeded | failed | cancelled

A terminal state never changes. Only ``guard`` lets a state be written.
"""

from enum import StrEnum


class IntakeState(StrEnum):
    VALIDATING = "validating"
    READY = "ready"
    REJECTED = "rejected"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


MOVES: dict[StrEnum, frozenset[StrEnum]] = {
    IntakeState.VALIDATING: frozenset({IntakeState.READY, IntakeState.REJECTED}),
    IntakeState.READY: frozenset(),
    IntakeState.REJECTED: frozenset(),
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}

TERMINAL: frozenset[StrEnum] = frozenset(state for state, after in MOVES.items() if not after)

OPEN = (JobState.QUEUED, JobState.RUNNING)


class IllegalMove(Exception):
    """A state was asked to change in a way that ``MOVES`` doesn't allow; nothing was written."""


def guard(before: StrEnum, after: StrEnum) -> StrEnum:
    """``after``, if a row in state ``before`` may move there. Raises ``IllegalMove`` otherwise."""
    if after not in MOVES[before]:
        raise IllegalMove(f"{before} -> {after}")
    return after
