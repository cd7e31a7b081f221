import stat
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.settings import Settings, keep


def test_unset_urls_point_into_the_data_folder(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert settings.database == f"sqlite:///{tmp_path}/radii.sqlite"
    assert settings.broker == f"redis+socket://{settings.redis_socket}"


def test_the_socket_has_a_path_that_systems_allow_however_long_the_data_folders(tmp_path: Path) -> None:
    assert Settings(data_dir=tmp_path).redis_socket == tmp_path / "redis.sock"
    long = Settings(data_dir=tmp_path / ("x" * 120)).redis_socket
    assert len(bytes(long)) < 104
    assert long == Settings(data_dir=tmp_path / ("x" * 120)).redis_socket
    assert long != Settings(data_dir=tmp_path / ("y" * 120)).redis_socket


def test_variables_are_read_and_handed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RADII_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("RADII_PORT", "8123")
    monkeypatch.setenv("RADII_NOISE_SECRET", "0f" * 32)
    settings = Settings()
    assert (settings.data_dir, settings.port, settings.secret()) == (tmp_path, 8123, bytes([15] * 32))
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("noise_secret", "short"),
        ("noise_secret", "zz" * 32),
        ("database_url", "mysql://x"),
        ("broker_url", "memory://"),
        ("port", 70000),
        ("batch_size", 1001),
        ("lease_seconds", 0),
        ("unknown", 1),
    ],
)
def test_bad_settings_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})


def test_a_secret_never_shows(tmp_path: Path) -> None:
    assert "abab" not in repr(Settings(data_dir=tmp_path, noise_secret="ab" * 32))


def test_the_secret_is_made_once_and_private(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "new")
    secret = settings.secret()
    assert len(secret) == 32
    assert settings.secret() == secret
    assert stat.S_IMODE((tmp_path / "new" / "noise-secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_of_two_makers_at_once_both_get_one_answer(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from models.settings import keep; print(keep(pathlib.Path(sys.argv[1]), sys.argv[2]))"
    )
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", program, tmp_path / "secret", str(i)], stdout=subprocess.PIPE, text=True
        )
        for i in range(4)
    ]
    answers = {maker.communicate()[0] for maker in makers}
    assert len(answers) == 1
    assert keep(tmp_path / "secret", "late") == answers.pop().strip()
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
