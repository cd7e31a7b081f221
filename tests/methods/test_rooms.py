"""What must hold of every method, and that nobody else asks which one it is."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest

from app.planning import planned
from radii.attacks import LEVEL
from radii.methods import KINDS, About, Method, parse_method
from radii.methods.smoothing.method import ATTACK_LEVEL

ROOT = Path(__file__).parent.parent.parent
HOUSE = ("app", "models", "workers", "radii/cli", "radii/client")
COMPUTING = ROOT / "workers" / "methods"
ABOUT = About(grid=[0.0, 1.0], range=[0.0, 1.0], dimensions=64, inputs=5)
WORDS = {*KINDS, "decide"}
CLASSES = {cls.__name__ for kind in KINDS.values() for cls in kind.__mro__ if issubclass(cls, Method)}
QUESTIONS: list[dict[str, Any]] = [
    {"kind": "smoothing", "sigma": 0.25, "mode": mode, "target_radius": target, "scores": scores}
    for mode, target, scores in (("radius", None, "hard"), ("decide", 0.1, "hard"), ("radius", None, "soft"))
] + [
    {"kind": "lipschitz"},
    {"kind": "local"},
    {"kind": "local", "box": True, "target_radius": 0.1},
    {"kind": "prediction", "sigma": 0.25},
    {"kind": "median", "sigma": 0.25, "radius": 0.1},
    {"kind": "splitting", "sigma": 0.25},
]


def words(node: ast.AST) -> set[object]:
    """The constants that a comparison is with, one by one or in a list."""
    parts = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]
    return {part.value for part in parts if isinstance(part, ast.Constant)}


def names(node: ast.AST) -> set[str]:
    """What a check of a type is for."""
    found = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return found | {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}


def is_kind(node: ast.AST) -> bool:
    """``x.kind``, ``x["kind"]`` or ``x.get("kind")``; not of a dtype."""
    if isinstance(node, ast.Attribute):
        return node.attr == "kind" and "dtype" not in ast.unparse(node.value)
    if isinstance(node, ast.Subscript):
        return words(node.slice) == {"kind"}
    return isinstance(node, ast.Call) and any(words(argument) == {"kind"} for argument in node.args)


def asks(node: ast.AST) -> bool:
    """Whether the code decides there by the kind of a method."""
    match node:
        case ast.Compare(left=left, comparators=others):
            return any(words(side) & WORDS or is_kind(side) for side in (left, *others))
        case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, of]):
            return bool(names(of) & CLASSES)
        case ast.Match(subject=subject):
            return is_kind(subject)
        case ast.MatchValue(value=ast.Constant(value=value)):
            return value in WORDS
        case ast.MatchClass(cls=of):
            return bool(names(of) & CLASSES)
        case ast.Dict(keys=keys) if keys:  # a table of what is to be done
            return {key.value if isinstance(key, ast.Constant) else None for key in keys} <= WORDS
    return False


def branches(code: str) -> Iterator[str]:
    """The places where it does."""
    for node in ast.walk(ast.parse(code)):
        if asks(node):
            yield f"line {getattr(node, 'lineno', '?')}: {ast.unparse(node)}"


def test_nobody_asks_which_method_it_is() -> None:
    files = [file for folder in HOUSE for file in (ROOT / folder).rglob("*.py") if COMPUTING not in file.parents]
    assert len(files) > 100
    found = [f"{file.relative_to(ROOT)}, {place}" for file in files for place in branches(file.read_text())]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        'if method["kind"] == "lipschitz": pass',
        'x = 1 if row.method.get("kind") != other else 2',
        'flag = kind in ("prediction", "median")',
        'flag = "median" in sums',
        "if isinstance(method, Lipschitz | methods.Splitting): pass",
        "isinstance(method, Smoothed)",
        "match method:\n case Median(): pass",
        'match name:\n case "decide": pass',
        "match method.kind:\n case other: pass",
        'NO_CURVE = {"prediction": "it has none", "median": "nor this one"}',
    ],
)
def test_whoever_asks_is_found(code: str) -> None:
    assert list(branches(code))


def test_every_method_has_a_question_here() -> None:
    assert {question["kind"] for question in QUESTIONS} == KINDS.keys()


@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_what_a_method_says_of_itself_fits_together(question: dict[str, Any]) -> None:
    method = parse_method(question)
    kind, fields = question["kind"], type(method).result.model_fields
    assert type(method) is KINDS[kind] and type(method).__module__ == f"radii.methods.{kind}.method"
    assert callable(import_module(f"workers.methods.{kind}").compute)
    assert (fields["kind"].default, get_args(fields["kind"].annotation)) == (kind, (kind,))
    assert fields["version"].default == max(get_args(fields["version"].annotation))
    assert all(field.description for field in fields.values())
    for stage in method.stages:
        assert {stage.counts, *stage.keeps} <= fields.keys()
    assert {*method.passing} <= fields.keys()
    report = method.report.model_fields.keys() if method.report else set()
    assert {name for of_figure in method.figures.values() for name in of_figure} <= report
    assert bool(method.report) is bool(method.figures)
    chance = method.chance(5)
    assert 0 <= chance <= 1 and ("cross_check" in type(method).model_fields or not chance)
    assert (method.certifies_in is None) is (method.no_curve is not None and "radius" not in type(method).model_fields)
    plan = planned(method, 5)
    assert sum(plan.ledger.values()) in (0, method.cost())
    asked = method.ledger_question(ABOUT)
    assert (asked is not None) is bool(plan.ledger)
    assert asked is None or asked.questions.keys() <= plan.ledger.keys()


def test_a_chance_of_contradictions_has_that_of_the_attack_in_it() -> None:
    assert ATTACK_LEVEL == LEVEL
