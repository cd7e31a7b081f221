import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from models.settings import NotPrivate, Settings, keep, private_folder


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
def test_bad_settings_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})


@pytest.mark.parametrize(
    ("name", "url", "cause"),
    [
        ("database_url", "postgresql+psycopg://u:ge@heim@h:1/x", "there are two @ in it. In a password write @ as %40"),
        ("database_url", "postgresql+psycopg://u:geheim@h:port/x", "the port is no number"),
        ("database_url", "postgresql+psycopg://u:geheim@h:65536/x", "there is no port 65536"),
        ("database_url", "postgresql+psycopg://u:geheim@h", "it names no database"),
        ("broker_url", "redis://:geheim/1@h:1/0", "the port is no number"),
        ("broker_url", "amqp://u:geheim#1@h:1/0", "the port is no number"),
        ("broker_url", "redis://:geheim@h:65536/0", "the port is no number"),
        ("broker_url", "redis://", "it names no host"),
        ("broker_url", "redis://:geheim@h/x", "the number of a database"),
        ("broker_url", "sentinel://:geheim@h:1;h:2/0", "or not of each server"),
        ("broker_url", "sentinel://:geheim@h:1;sentinel://h:port/0", "the port is no number"),
    ],
)
def test_a_url_that_can_not_be_right_is_refused_without_the_password(name: str, url: str, cause: str) -> None:
    given: dict[str, Any] = {name: url}
    with pytest.raises(ValidationError) as error:
        Settings(**given)
    assert name in str(error.value) and cause in str(error.value)
    assert "heim" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://u:p%40w@[::1]:1/x", "postgresql+psycopg:///x?host=/run", "sqlite:////x", ""]
)
def test_databases_that_can_be_right(url: str) -> None:
    assert Settings(database_url=url).database_url == url


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


def test_a_misspelt_variable_is_refused_with_the_one_that_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, meant in (
        ("RADII_WORKER", "RADII_WORKERS"),
        ("RADII_DATADIR", "RADII_DATA_DIR"),
        ("radii_loglevel", "RADII_LOG_LEVEL"),
        ("RADII_APIKEY", "RADII_API_KEY"),
        ("RADII_XYZZY", "unset it"),
    ):
        with monkeypatch.context() as context:
            context.setenv(name, "1")
            with pytest.raises(ValidationError, match=rf"{name} is no variable of radii: .*{meant}"):
                Settings()


def test_variables_of_the_client_the_tests_and_the_platform_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RADII_URL", "RADII_API_KEY", "RADII_PATIENCE", "RADII_TEST_ANYTHING", "radii_workers", "RADIIX"):
        monkeypatch.setenv(name, "3")
    # What Kubernetes tells every pod of a service called radii-api.
    monkeypatch.setenv("RADII_API_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("RADII_API_SERVICE_PORT_HTTP", "8000")
    monkeypatch.setenv("RADII_API_PORT", "tcp://10.0.0.1:8000")
    monkeypatch.setenv("RADII_API_PORT_8000_TCP_ADDR", "10.0.0.1")
    assert Settings().workers == 3


def test_the_port_of_a_kubernetes_service_called_radii_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("RADII_SERVICE_HOST", "10.0.0.1"),
        ("RADII_SERVICE_PORT", "80"),
        ("RADII_PORT", "tcp://10.0.0.1:80"),
        ("RADII_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("RADII_PORT_80_TCP_PROTO", "tcp"),
    ):
        monkeypatch.setenv(name, value)
    assert Settings().port == 8000
    monkeypatch.setenv("RADII_PORT", "http://10.0.0.1:80")
    with pytest.raises(ValidationError):
        Settings()


def test_what_was_given_wrong_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a secret."""
    monkeypatch.setenv("RADII_NOISE_SECRET", "deadbeef")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "deadbeef" not in str(caught.value)


def mode(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


def test_a_folder_is_made_private(tmp_path: Path) -> None:
    private_folder(tmp_path / "new" / "data")
    assert mode(tmp_path / "new" / "data") == 0o700
    for given in (0o755, 0o777, 0o750):
        empty = tmp_path / f"empty-{given:o}"
        empty.mkdir()
        empty.chmod(given)
        private_folder(empty)
        assert mode(empty) == 0o700
    (empty / "file").touch()
    private_folder(empty)


@pytest.mark.parametrize("given", [0o755, 0o750, 0o770, 0o701, 0o704])
def test_one_with_something_in_it_that_others_may_look_into_is_refused(tmp_path: Path, given: int) -> None:
    folder = tmp_path / "it's mine"
    folder.mkdir()
    (folder / "file").touch()
    folder.chmod(given)
    with pytest.raises(NotPrivate, match=f"mode 0{given:o}") as refused:
        private_folder(folder)
    assert mode(folder) == given
    remedy = str(refused.value).partition("alone: ")[2].partition("; otherwise")[0]
    subprocess.run(remedy, shell=True, check=True)
    private_folder(folder)
    assert mode(folder) == 0o700


def test_a_folder_for_everybody_is_never_tightened(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(NotPrivate, match="another data folder") as refused:
        private_folder(tmp_path)
    assert "chmod" not in str(refused.value)
    assert mode(tmp_path) == 0o1777
    private_folder(tmp_path / "radii")


def test_an_own_link_to_an_own_folder_is_followed(tmp_path: Path) -> None:
    """Such as ~/.radii that leads to another disk."""
    there = tmp_path / "there"
    (tmp_path / "here").symlink_to(tmp_path / "between")
    (tmp_path / "between").symlink_to("there")  # relative, and to what is not there yet
    private_folder(tmp_path / "here")
    assert mode(there) == 0o700
    there.chmod(0o755)
    private_folder(tmp_path / "here")
    assert mode(there) == 0o700
    (there / "file").touch()
    there.chmod(0o755)
    with pytest.raises(NotPrivate, match="can look into"):
        private_folder(tmp_path / "here")


def test_somebody_elses_link_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """He may have it lead elsewhere tomorrow, whoever the folder belongs to."""
    (tmp_path / "there").mkdir(mode=0o700)
    (tmp_path / "here").symlink_to(tmp_path / "there")
    monkeypatch.setattr("models.settings.os.geteuid", lambda: os.getuid() + 1)
    with pytest.raises(NotPrivate, match="here belongs to another user"):
        private_folder(tmp_path / "here")


@pytest.mark.parametrize("target", ["loop", "file"])
def test_what_is_no_folder_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / target, tmp_path / "link"):
        if path.name == "link":
            path.symlink_to(target)
        with pytest.raises(NotPrivate, match="is no folder"):
            private_folder(path)


def test_somebody_elses_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.settings.os.geteuid", lambda: os.getuid() + 1)
    with pytest.raises(NotPrivate, match="belongs to another user"):
        private_folder(tmp_path)
