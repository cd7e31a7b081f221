"""Pages that make promises about commands, code and fields, held against them."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from models.states import MOVES, TERMINAL
from radii.lipschitz import LayerBound
from radii.methods.lipschitz.report import Report
from tests.service import clean_environment, running

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "lipschitz.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
PACKAGES = ("app", "models", "radii", "workers")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
CITATION = re.compile(r"docs/numerics\.md ((?:\d+\.\d+)(?:(?:, | and )\d+\.\d+)*)")


def test_the_page_on_bounds_names_every_field_of_a_report() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert {field.name for field in fields(LayerBound)} <= named
    assert set(Report.model_fields) - {"certification_id", "model_id"} <= named


def test_the_commands_and_the_code_on_it_run() -> None:
    commands = re.findall(r"^radii (lipschitz [^#\n]+)", PAGE, flags=re.MULTILINE)
    programs = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(commands) == 2 and len(programs) == 1
    for arguments in [["-m", "radii.cli", *command.split()] for command in commands] + [["-c", programs[0]]]:
        done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


EXPORT = """
import torch
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
torch.onnx.export(network.eval(), (torch.zeros(1, 1, 8, 8),), "mine.onnx", dynamic_shapes=({0: "batch"},))
"""


def test_the_session_with_curl_on_the_front_page_runs_as_it_stands(tmp_path: Path) -> None:
    """As one script, with fewer samples, against a service in ~/.radii; `mine.onnx` is what torch's exporter writes by
    default."""
    page = (ROOT / "README.md").read_text()
    session, beside = [block for block in re.findall(r"```\n(.*?)```", page, flags=re.DOTALL) if "curl" in block]
    for name in ("digits.onnx", "digits.npz"):
        (tmp_path / "examples" / "digits").mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "examples" / "digits" / name, tmp_path / "examples" / "digits")
    export = [sys.executable, "-W", "ignore", "-c", EXPORT]
    subprocess.run(export, cwd=tmp_path / "examples" / "digits", check=True, capture_output=True, timeout=120)
    assert (tmp_path / "examples" / "digits" / "mine.onnx.data").is_file()
    script = re.sub(r"^(curl [^#\n]*).*$", r"\1; echo; echo ---", session + beside, flags=re.MULTILINE)
    script = script.replace('"n": 10000', '"n": 200')
    with running(tmp_path / ".radii") as service:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script.replace("http://127.0.0.1:8000", service.url)],
            cwd=tmp_path,
            env={**clean_environment(), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert (done.returncode, done.stderr) == (0, "")
    model, dataset, job, results, curve, at_radius, mine = (part.strip() for part in done.stdout.split("---\n")[:-1])
    assert [json.loads(one)["state"] for one in (model, dataset, job, mine)] == ["ready", "ready", "succeeded", "ready"]
    assert all(json.loads(one)["ended"] for one in (model, dataset, job, mine))
    assert len(results.splitlines()) == json.loads(curve)["inputs"] == 50
    assert json.loads(at_radius)["at"]["radius"] == 0.25
    assert {state for state in TERMINAL if f'"{state}"' not in session} == set()  # it names all of them


def test_the_states_are_drawn_as_they_move() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    drawings = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", page, flags=re.DOTALL)
    assert len(drawings) == 2
    drawn = {arrow for drawing in drawings for arrow in re.findall(r"(\S+) --> (\S+)", drawing)}
    moves = {(before.value, after.value) for before, allowed in MOVES.items() for after in allowed}
    ends = {(state.value, "[*]") for state in TERMINAL}
    begins = {("[*]", "validating"), ("[*]", "queued")}
    assert drawn == moves | ends | begins


def test_code_cites_every_section_on_numerics_and_no_other() -> None:
    sections = set(re.findall(r"^### (\d+\.\d+) ", (ROOT / "docs" / "numerics.md").read_text(), flags=re.MULTILINE))
    texts = {path: path.read_text() for path in SOURCES}
    cited = {
        section: path
        for path, text in texts.items()
        for several in CITATION.findall(text)
        for section in re.findall(r"\d+\.\d+", several)
    }
    assert {section: path for section, path in cited.items() if section not in sections} == {}
    assert sections - cited.keys() == set()
    mentions = sum(text.count("docs/numerics.md") for text in texts.values())
    assert mentions == sum(len(CITATION.findall(text)) for text in texts.values())  # none is of the page as a whole


def test_what_pages_name_exists() -> None:
    """Files and folders, modules and what is in them, and links, down to the headings that they lead to."""
    wrong = [f"{page.name}: {what}" for page in PAGES for what in _missing(page)]
    assert wrong == []


def _missing(page: Path) -> Iterator[str]:
    text = page.read_text()
    code = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for name in re.findall(r"`([\w./-]+)`", code):
        if re.search(r"\b(KIND|NOUN)\b|note", name):  # a place to be filled in
            continue
        folder = re.match(r"(?:app|benchmarks|docs|examples|findings|migrations|models|radii|tests|workers)/", name)
        if folder and not (ROOT / name).exists():
            yield name
        if re.fullmatch(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+", name) and not _resolves(name):
            yield name
    for target in re.findall(r"\]\(([^)\s]+)\)", code):
        if re.match(r"https?:", target):
            continue
        file, _, heading = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        if not there.exists() or (heading and heading not in _headings(there.read_text())):
            yield target


def _resolves(name: str) -> bool:
    """Whether a dotted name is a module, or stands in the source of one."""
    parts = name.split(".")
    for known in range(len(parts), 0, -1):
        stem = ROOT.joinpath(*parts[:known])
        file = stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")
        if file.is_file():
            return known == len(parts) or re.search(rf"\b{parts[known]}\b", file.read_text()) is not None
    return False


def _headings(text: str) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
