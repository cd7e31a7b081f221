import pytest

from radii.cli.console import print_problem
from radii.client import ProblemError


def test_a_problem_shows_its_parts_and_nothing_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    obstacles = [{"node": 3, "operator": "[red]Evil\x1b[2J", "reason": "a\u202eb", "remedy": None}]
    print_problem(ProblemError({"title": "T", "detail": "D\x07", "remedy": "R [bold]", "obstacles": obstacles}))
    shown = capsys.readouterr().err
    assert shown.startswith("T\nD\ufffd\nobstacles\n")
    assert shown.endswith("What to do: R [bold]\n")
    assert "[red]Evil\ufffd[2J" in shown
    assert "a\ufffdb" in shown
    assert "\x1b" not in shown
