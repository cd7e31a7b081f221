from itertools import product

import pytest

from models.states import MOVES, TERMINAL, IllegalMove, IntakeState, JobState, guard

STATES = [*IntakeState, *JobState]


@pytest.mark.parametrize(("before", "after"), [*product(STATES, STATES)])
def test_only_moves_of_the_table_are_allowed(before: IntakeState | JobState, after: IntakeState | JobState) -> None:
    if after in MOVES[before]:
        assert guard(before, after) is after
    else:
        with pytest.raises(IllegalMove):
            guard(before, after)


def test_the_table_knows_every_state_and_leaves_none_for_another_noun() -> None:
    assert set(MOVES) == set(STATES)
    for before, afters in MOVES.items():
        assert all(type(after) is type(before) for after in afters)


def test_terminal_states() -> None:
    assert {str(state) for state in TERMINAL} == {"ready", "rejected", "succeeded", "failed", "cancelled"}
