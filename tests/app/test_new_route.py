"""A new route with a table is its room, a migration and five lines elsewhere: added to a copy of the code, what another
tenant keeps there is not to be found. Whoever forgets the principal is told so, by the types or by a test."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

ROOT = Path(__file__).parent.parent.parent
ROOM = Path(__file__).parent / "notes"
CODE = ("app", "migrations", "models", "radii", "tests", "workers")
PLACES = {
    "table.py": "models/tables/note.py",
    "migration.py": "migrations/versions/notes.py",
    "repository.py": "models/repositories/notes.py",
    "route.py": "app/routes/notes.py",
}
ROUTE = PLACES["route.py"]
CALLS = "tests/app/test_tenants.py"
TABLES = (
    "tests/models/test_tenant_session.py::test_every_table_says_whose_its_rows_are",
    "tests/models/test_migrations.py::test_migrations_make_exactly_the_tables",
)
LINES = {
    "models/tables/__init__.py": {
        "from models.tables.report": "from models.tables.note import Note\nfrom models.tables.report",
        '    "Report",': '    "Note",\n    "Report",',
    },
    "models/ids.py": {"PATTERN =": 'NOTE = "note"\nPATTERN ='},
    "models/repositories/pages.py": {
        "from models.tenant_session": "from models.tables import Note\nfrom models.tenant_session",
        'TypeVar("Row", ': 'TypeVar("Row", Note, ',
    },
    "app/parameters.py": {"from models.problems": "from models.ids import NOTE\nfrom models.problems"},
    "app/main.py": {
        "from app.routes import (\n": "from app.routes import (\n    notes,\n",
        "for noun in (": "for noun in (notes, ",
    },
}
MADE = 'client.post("/v1/notes", json={"text": NAME}).json()["id"]'
TOLD = {
    CALLS: {
        "    upload_id: str\n": "    note_id: str\n    upload_id: str\n",
        "json=named).json()\n    return Others(": f"json=named).json()\n    return Others({MADE}, ",
        "BODIES: dict[str, Any] = {": 'BODIES: dict[str, Any] = {\n    "POST /v1/notes": lambda ids: {"text": "mine"},',
    }
}


def changed(checkout: Path, lines: dict[str, dict[str, str]]) -> None:
    """Write those lines, each in the place of another."""
    for name, replaced in lines.items():
        text = (checkout / name).read_text()
        for before, after in replaced.items():
            assert text.count(before) == 1, (name, before)
            text = text.replace(before, after)
        (checkout / name).write_text(text)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the code with notes in it."""
    for name in CODE:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "data"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    newest = ScriptDirectory(str(tmp_path / "migrations")).get_current_head()
    for name, place in PLACES.items():
        (tmp_path / place).write_text((ROOM / name).read_text().replace('"HEAD"', f'"{newest}"'))
    changed(tmp_path, LINES)
    with (tmp_path / "app/parameters.py").open("a") as file:
        file.write("NoteCursor = Annotated[str | None, _cursor(NOTE)]\n")
    return tmp_path


def said(checkout: Path, *command: str) -> tuple[int, str]:
    """How a command ended in the copy, and what it said."""
    program = [str(Path(sys.executable).parent / command[0]), *command[1:]]
    done = subprocess.run(program, cwd=checkout, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


def checked(checkout: Path, *tests: str) -> tuple[int, str]:
    """What tests of the copy say, on SQLite."""
    return said(checkout, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not postgresql", *tests)


def test_a_route_with_a_table(checkout: Path) -> None:
    code, words = checked(checkout, CALLS)  # nobody told it of notes
    assert code == 1 and "POST /v1/notes: say in BODIES" in words and "GET /v1/notes: shows nothing" in words
    changed(checkout, TOLD)
    code, words = checked(checkout, CALLS, *TABLES)  # its migration makes its table, which has an owner
    assert code == 0 and "passed" in words, words


def test_one_that_forgets_whose_it_is(checkout: Path) -> None:
    """No principal, a session of another kind, a table without an owner: types, import contracts and tests tell."""
    read = "service.database.read({}) as session:\n        rows"
    changed(checkout, {ROUTE: {read.format("principal"): read.format("")}})
    code, words = said(checkout, "mypy", "--follow-imports", "silent", ROUTE)
    assert code == 1 and 'Missing positional argument "principal" in call to "read" of "TenantDatabase"' in words

    session = "from models.database import Database\n"
    changed(checkout, {ROUTE: {"from models.repositories": f"{session}from models.repositories"}})
    code, words = said(checkout, "lint-imports", "--no-cache")
    assert code == 1 and "app.routes.notes -> models.database" in words

    unowned = {"(Owned, Base)": "(Base)", "    text:": "    tenant: Mapped[str]\n    text:"}
    changed(checkout, {PLACES["table.py"]: unowned})
    code, words = checked(checkout, *TABLES)
    assert code == 1 and "Extra items in the left set:\nE         'notes'" in words, words
