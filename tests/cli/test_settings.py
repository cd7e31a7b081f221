from pathlib import Path

import pytest
import typer

from models.settings import Settings
from radii.cli import settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == settings.markdown(), "run: make generate"


def test_every_setting_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    settings.print_help("radii up")
    shown = capsys.readouterr().out
    assert [name for name in Settings.model_fields if f"--{name.replace('_', '-')} " not in shown] == []


def test_flags_win_over_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RADII_PORT", "1234")
    monkeypatch.setenv("RADII_WORKERS", "3")
    monkeypatch.setenv("RADII_API_KEY", "of the client; no setting")
    chosen = settings.parse(["--port", "4321", f"--data-dir={tmp_path}"])
    assert (chosen.port, chosen.workers, chosen.data_dir) == (4321, 3, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "--port (RADII_PORT): Input should be less than or equal to 65535"),
        (["--database-url", "mysql://x"], "--database-url (RADII_DATABASE_URL): use sqlite:///FILE or postgresql"),
        (["--prot", "1"], "unrecognized arguments: --prot 1. `radii up --help` lists the settings."),
        (["--workers"], "argument --workers: expected one argument"),
        (["5"], "unrecognized arguments: 5"),
    ],
)
def test_what_cannot_be_right_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        settings.parse(arguments)
    assert ended.value.exit_code == 2
    assert message in capsys.readouterr().err


def test_without_the_service_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(typer.Exit):
        settings.parse([])
    assert "from a checkout" in capsys.readouterr().err
