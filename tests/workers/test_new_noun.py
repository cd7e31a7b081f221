"""A new noun is a room for its table, a function that works on its rows, a migration and its registration: added to a
copy of the code, workers take its rows, are beaten to none, and say why one failed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from alembic.script import ScriptDirectory

from tests.service import running

ROOT = Path(__file__).parent.parent.parent
CODE = ("app", "migrations", "models", "radii", "workers")
ROOM = Path(__file__).parent / "greeting"
REGISTRY, MIGRATION = "models/work.py", "migrations/versions/greetings.py"
ENTRY = """
        Noun(
            "greeting",
            Greeting,
            open=(IntakeState.VALIDATING,),
            queue=INTAKE,
            task="radii.greet",
            handler="workers.greeting:greet",
            gives_up="models.greeting.repository:reject",
        ),
    )
}
"""
ASK = """
import json, sys, time
from models.bell import Bell, celery_app, celery_ring
from models.database import Database, ring_after_commit
from models.greeting.table import Greeting
from models.settings import Settings
settings = Settings()
database = Database(settings.database, ring=celery_ring(celery_app(settings)))
with database.write() as session:
    for name in ("Ada", "nobody", "Emmy"):
        session.add(Greeting(id=name))
        if name != "Emmy":  # whose bell is lost: the sweeper rings for her
            ring_after_commit(session, Bell("greeting", name))
for _ in range(600):
    with database.read() as session:
        rows = {row.id: row for row in session.query(Greeting)}
    if all(row.state != "validating" for row in rows.values()):
        break
    time.sleep(0.1)
print(json.dumps({name: [row.state, row.words, row.problem, row.fence] for name, row in rows.items()}))
"""


def with_greetings(checkout: Path) -> set[str]:
    """Copy the code and add the noun to it; what that touched."""
    for name in CODE:
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", checkout)
    newest = ScriptDirectory(str(checkout / "migrations")).get_current_head()
    before = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}
    elsewhere = {"handler.py": "workers/greeting.py", "migration.py": MIGRATION}
    shutil.copytree(ROOM, checkout / "models/greeting", ignore=shutil.ignore_patterns(*elsewhere, "__pycache__"))
    for name, place in elsewhere.items():
        (checkout / place).write_text((ROOM / name).read_text().replace('"HEAD"', f'"{newest}"'))
    registry = checkout / REGISTRY
    text = registry.read_text()
    assert text.endswith("\n    )\n}\n")
    text = text.removesuffix("\n    )\n}\n") + ENTRY
    registry.write_text(
        text.replace("from models.states", "from models.greeting.table import Greeting\nfrom models.states")
    )
    after = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}
    return {str(path.relative_to(checkout)) for path in after if after[path] != before.get(path)}


def test_a_noun_is_its_room_its_handler_a_migration_and_a_registration(tmp_path: Path) -> None:
    room = {f"models/greeting/{name}.py" for name in ("__init__", "table", "repository")}
    others = {"workers/greeting.py", MIGRATION, REGISTRY}
    assert with_greetings(tmp_path / "code") == room | others
    with running(tmp_path / "data", checkout=tmp_path / "code") as service:
        done = subprocess.run(
            [sys.executable, "-c", ASK],
            env={**service.environment(), "PYTHONPATH": str(tmp_path / "code")},
            cwd=tmp_path / "code",
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["Ada"] == ["ready", "Good morning, Ada.", None, 1]
    assert said["Emmy"] == ["ready", "Good morning, Emmy.", None, 1]
    state, words, problem, fence = said["nobody"]
    assert (state, words, fence) == ("rejected", None, 1)
    assert problem["type"] == "/problems/internal-error" and "there is nobody to greet" in problem["detail"]
    assert problem.items() >= {"attempts": 1, "log": "nobody/1"}.items()
