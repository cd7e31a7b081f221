import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from models.bootstrap import ROOT, BadKeyFile, WrongSecretError, bootstrap
from models.database import Database
from models.principal import DEFAULT_TENANT, EVERYTHING, Principal
from models.repositories import keys
from models.settings import Settings
from models.tables import (
    Fact,
    Key,
)
from models.versions import compatible


@pytest.fixture
def fresh(tmp_path: Path, empty_database_url: str) -> Settings:
    return Settings(data_dir=tmp_path / "data", database_url=empty_database_url)


def test_from_nothing_to_ready_and_again(fresh: Settings) -> None:
    bootstrap(fresh)
    key = fresh.key_file.read_text().strip()
    bootstrap(fresh)
    assert fresh.key_file.read_text().strip() == key
    assert stat.S_IMODE(fresh.key_file.stat().st_mode) == 0o600
    database = Database(fresh.database)
    with database.read() as session:
        (first,) = session.scalars(select(Key))
        assert first.name == "first"
        assert keys.authenticate(session, key) == Principal(DEFAULT_TENANT, first.id, EVERYTHING)
        assert keys.authenticate(session, key + "x") is None
    database.close()


def test_a_key_whose_file_is_gone_is_named_and_so_is_the_new_one(
    fresh: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    def listed() -> list[Key]:
        database = Database(fresh.database)
        with database.read() as session:
            found = list(session.scalars(select(Key).order_by(Key.id)))
        database.close()
        return found

    bootstrap(fresh)
    bootstrap(fresh)
    assert capsys.readouterr().out == ""
    (first,) = listed()
    old = fresh.key_file.read_text()
    fresh.key_file.unlink()
    bootstrap(fresh)
    _, second = listed()
    said = capsys.readouterr().out
    assert f"{fresh.key_file} was not there: a new key was made ({second.id})" in said
    assert f"{first.id} (of " in said and f"radii keys revoke {first.id}" in said
    assert fresh.key_file.read_text() != old
    bootstrap(fresh)
    assert capsys.readouterr().out == ""  # it was said
    database = Database(fresh.database)
    with database.write() as session:
        keys.revoke(session, DEFAULT_TENANT, first.id)
    fresh.key_file.unlink()
    bootstrap(fresh)
    said = capsys.readouterr().out
    assert first.id not in said and f"radii keys revoke {second.id}" in said
    third = listed()[-1]
    with database.write() as session:
        keys.revoke(session, DEFAULT_TENANT, third.id)  # the one in the file
    database.close()
    bootstrap(fresh)
    said = capsys.readouterr().out
    assert f"({third.id}) was revoked. For a new one delete the file and start again" in said
    fresh.key_file.unlink()
    bootstrap(fresh)
    assert listed()[-1].revoked_at is None


def test_the_first_key_may_come_from_a_file(
    fresh: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "secret"
    given = fresh.model_copy(update={"first_key_file": file})
    for bad in (None, "", "short", "a b" * 20, "ü" * 40, "x" * 201):
        if bad is not None:
            file.write_text(bad)
        with pytest.raises(BadKeyFile, match="RADII_FIRST_KEY_FILE"):
            bootstrap(given)
    first, second = "a" * 64, "b" * 64
    for text_ in (first, first, second, second):
        file.write_text(text_ + "\n")
        bootstrap(given)
    said = capsys.readouterr().out.splitlines()
    database = Database(given.database)
    with database.write() as session:
        one, two = keys.valid(session, DEFAULT_TENANT)
        assert keys.authenticate(session, first) and keys.authenticate(session, second)
        keys.revoke(session, DEFAULT_TENANT, two.id)
    database.close()
    assert said == [f"radii: {file} holds a new key ({two.id}); {one.id} is still valid: radii keys revoke {one.id}"]
    assert not given.key_file.exists()  # the text is in one place
    bootstrap(given)
    assert f"({two.id}) was revoked. For a new one write another text there" in capsys.readouterr().out


def test_a_data_folder_that_others_may_look_into_is_refused_before_anything_is_there(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "file").touch()
    folder.chmod(0o755)
    environment = {**os.environ, "RADII_DATA_DIR": str(folder)}
    command = [sys.executable, "-m", "models.bootstrap"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("radii: other users of this machine can look into")
    assert f"chmod 700 {folder}" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["file"]
    folder.chmod(0o700)
    subprocess.run(command, env=environment, cwd=ROOT, check=True, timeout=60)
    assert [path for path in folder.rglob("*") if path.name != "file" and path.stat().st_mode & 0o077] == []


def test_settings_that_cannot_be_right_are_named_without_a_traceback(tmp_path: Path) -> None:
    wrong = {"RADII_DATA_DIR": str(tmp_path / "data"), "RADII_PORT": "http", "RADII_NOISE_SECRET": "deadbeef"}
    command = [sys.executable, "-m", "models.bootstrap"]
    done = subprocess.run(command, env={**os.environ, **wrong}, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "radii: RADII_PORT: Input should be a valid integer" in done.stderr
    assert "radii: RADII_NOISE_SECRET: give 64 hex digits" in done.stderr
    assert "Traceback" not in done.stderr and "deadbeef" not in done.stderr


def test_whether_the_newest_migration_is_in(fresh: Settings) -> None:
    database = Database(fresh.database)
    with database.engine.connect() as connection:
        assert not compatible(connection)
    bootstrap(fresh)
    with database.engine.connect() as connection:
        assert compatible(connection)
    database.close()


def test_another_noise_secret_is_refused(fresh: Settings) -> None:
    bootstrap(fresh)
    with pytest.raises(WrongSecretError, match="RADII_NOISE_SECRET"):
        bootstrap(fresh.model_copy(update={"noise_secret": Settings(noise_secret="12" * 32).noise_secret}))


def test_the_secret_itself_is_not_in_the_database(fresh: Settings) -> None:
    bootstrap(fresh)
    database = Database(fresh.database)
    with database.read() as session:
        fact = session.get_one(Fact, "noise-secret")
    assert fact.value not in (fresh.secret().hex(), fresh.secret())
    database.close()


def test_two_starts_at_once_both_succeed(fresh: Settings) -> None:
    environment = {**os.environ, **fresh.environment()}
    starts = [subprocess.Popen([sys.executable, "-m", "models.bootstrap"], env=environment, cwd=ROOT) for _ in range(2)]
    assert [start.wait(60) for start in starts] == [0, 0]
