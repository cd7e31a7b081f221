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


def test_what_a_remedy_says_is_shown_whole(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    call = "onnx.utils.extract_model(FILE,NEW,[INPUT],[LOGITS])external_data=False"
    obstacles = [{"node": 1, "operator": "ArgMax", "reason": "it makes indices", "remedy": call}]
    print_problem(ProblemError({"title": "T", "obstacles": obstacles}))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("│")]
    assert "".join(line.split("│")[4].strip() for line in lines) == call
