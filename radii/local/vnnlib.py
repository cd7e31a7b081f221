"""Properties in the language VNN-LIB 1.0, as VNN-COMP writes them: what a counterexample would be.

A file declares ``X_0 ... X_n`` (inputs) and ``Y_0 ... Y_m`` (outputs), and asserts linear inequalities between them,
joined by ``and`` and ``or``. What it asserts describes a counterexample; a network for which there is none is safe.
Read here is what can be answered: inequalities of one input and a number, which make boxes, and of outputs. Numbers are
kept as they are written, exactly. Files are not trusted: no part of one is evaluated, and sizes are looked at first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product

import numpy as np
import numpy.typing as npt

MOST_BYTES = 32 * 2**20
MOST_WORDS = 4_000_000  # and parentheses
DEEPEST = 32  # parentheses inside each other
MOST_VARIABLES = 2**20
MOST_CASES = 2**16  # boxes times ways, once every ``or`` is multiplied out
MOST_NUMBERS = 2**26  # in all cases together: bounds of inputs and coefficients of outputs
LONGEST_NUMBER = 400  # characters, and the largest power of ten

Floats = npt.NDArray[np.float64]


class NotReadable(ValueError):
    """The file is no VNN-LIB, or says what can't be answered; the text has the line. Write the property otherwise."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__(f"line {line}: {words}")
        self.line = line


@dataclass(frozen=True)
class Inequality:
    """``sum of coefficients[i] Y_i <= limit``, exactly."""

    coefficients: Mapping[int, Fraction]
    limit: Fraction

    def holds(self, outputs: Sequence[float] | Floats) -> bool:
        """Of outputs as they are stored, without rounding; false where one is not finite."""
        if not all(math.isfinite(outputs[i]) for i in self.coefficients):
            return False
        return sum(c * Fraction(float(outputs[i])) for i, c in self.coefficients.items()) <= self.limit


@dataclass(frozen=True)
class Case:
    """A box of inputs, and the ways in which outputs there would be a counterexample: all inequalities of one of them.

    Attributes:
        lower, upper: the ends of the box, one an input, exactly.
    """

    lower: tuple[Fraction, ...]
    upper: tuple[Fraction, ...]
    ways: tuple[tuple[Inequality, ...], ...]

    @property
    def box(self) -> tuple[Floats, Floats]:
        """(n,) lower and upper ends in float64, rounded outward."""
        return np.array([below(end) for end in self.lower]), np.array([above(end) for end in self.upper])


@dataclass(frozen=True)
class Property:
    """There is a counterexample where one of the cases has one."""

    inputs: int
    outputs: int
    cases: tuple[Case, ...]


def below(number: Fraction) -> float:
    """The largest float64 that is not above it."""
    near = _nearest(number)
    return near if near == -math.inf or Fraction(near) <= number else math.nextafter(near, -math.inf)


def above(number: Fraction) -> float:
    """The smallest float64 that is not below it."""
    return -below(-number)


def _nearest(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        return -math.inf if number < 0 else math.nextafter(math.inf, 0.0)


def read_property(data: bytes) -> Property:
    """The property in a file. Raises `NotReadable`."""
    if len(data) > MOST_BYTES:
        raise NotReadable(1, f"the file has {len(data)} bytes, more than {MOST_BYTES}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise NotReadable(line, "this is no text in UTF-8; a compressed file is to be unpacked first") from None
    declared: dict[str, set[int]] = {"X": set(), "Y": set()}
    asserted = []
    last = 1
    for form in _forms(text):
        last = form.line
        match [_text(part) for part in form.parts]:
            case ["declare-const", str(name), "Real"]:
                letter, index = _variable(name, form.line)
                if index in declared[letter]:
                    raise NotReadable(form.line, f"{name} is declared twice")
                declared[letter].add(index)
            case ["assert", _]:
                asserted.append(_formula(form.parts[1], declared))
            case ["set-logic" | "set-info" | "check-sat" | "exit", *_]:
                pass
            case _:
                words = "(declare-const X_0 Real) or (assert ...) is expected here"
                raise NotReadable(form.line, f"{words}; versions of VNN-LIB from 2.0 on are not read")
    for letter, kind in (("X", "input"), ("Y", "output")):
        missing = set(range(len(declared[letter]))) - declared[letter]
        if missing or not declared[letter]:
            raise NotReadable(last, f"{letter}_{min(missing, default=0)} is not declared: every {kind} has to be")
    return _property(len(declared["X"]), len(declared["Y"]), asserted, last)


@dataclass(frozen=True)
class _Word:
    line: int
    text: str


@dataclass(frozen=True)
class _List:
    line: int
    parts: list[_Word | _List] = field(default_factory=list)


_Form = _Word | _List


def _text(form: _Form) -> str | None:
    return form.text if isinstance(form, _Word) else None


_WORD = re.compile(r"[()]|;[^\n]*|\n|[^\s();]+")


def _forms(text: str) -> Iterator[_List]:
    """What stands at the top, one after the other, so that the whole is never held as lists."""
    stack: list[_List] = []
    line = words = 1
    for word in (match.group() for match in _WORD.finditer(text)):
        if word == "\n":
            line += 1
            continue
        if word[0] == ";":
            continue
        words += 1
        if words > MOST_WORDS:
            raise NotReadable(line, f"the file has more than {MOST_WORDS} words and parentheses")
        if word == "(":
            if len(stack) == DEEPEST:
                raise NotReadable(line, f"parentheses are {DEEPEST} deep; no deeper ones are read")
            inner = _List(line)
            if stack:
                stack[-1].parts.append(inner)
            stack.append(inner)
        elif word == ")":
            if not stack:
                raise NotReadable(line, "a ) has no (")
            done = stack.pop()
            if not stack:
                yield done
        elif stack:
            stack[-1].parts.append(_Word(line, word))
        else:
            raise NotReadable(line, f"{_shown(word)} stands outside of parentheses")
    if stack:
        raise NotReadable(stack[-1].line, "a ( has no )")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


_VARIABLE = re.compile(r"([XY])_(0|[1-9][0-9]{0,8})", re.ASCII)


def _variable(name: str, line: int) -> tuple[str, int]:
    found = _VARIABLE.fullmatch(name)
    if not found:
        raise NotReadable(line, f"{_shown(name)} is no variable: inputs are X_0, X_1, ..., outputs Y_0, Y_1, ...")
    if int(found[2]) >= MOST_VARIABLES:
        raise NotReadable(line, f"{name} would be one of more than {MOST_VARIABLES} variables")
    return found[1], int(found[2])


_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE]([+-]?[0-9]+))?", re.ASCII)


def _number(text: str, line: int) -> Fraction | None:
    """None: no number. ``1e1000000000`` is one that nobody wants written out."""
    if text[0] not in "+-.0123456789":
        return None
    found = _NUMBER.fullmatch(text) if len(text) <= LONGEST_NUMBER else None
    if not found or abs(int(found[1] or 0)) > LONGEST_NUMBER:
        raise NotReadable(line, f"{_shown(text)} is no number that is read: at most {LONGEST_NUMBER} digits")
    return Fraction(text)


@dataclass(frozen=True)
class _Atom:
    """``sum of coefficients x_i <= limit`` over inputs or outputs."""

    line: int
    letter: str
    coefficients: dict[int, Fraction]
    limit: Fraction


@dataclass(frozen=True)
class _Or:
    """One of these conjunctions."""

    options: list[list[_Atom | _Or]]


_Conjunction = list["_Atom | _Or"]


def _formula(form: _Form, declared: Mapping[str, set[int]]) -> _Conjunction:
    """What is asserted, as a conjunction."""
    if isinstance(form, _Word) or not form.parts:
        raise NotReadable(form.line, "an inequality is expected here, such as (<= Y_0 Y_1)")
    head, arguments = _text(form.parts[0]), form.parts[1:]
    if head == "and":
        return [part for argument in arguments for part in _formula(argument, declared)]
    if head == "or":
        return [_Or([_formula(argument, declared) for argument in arguments])]
    if head in ("<=", ">=", "=") and len(arguments) == 2:
        left, right = (_linear(argument, declared) for argument in arguments)
        ordered = {"<=": [(left, right)], ">=": [(right, left)], "=": [(left, right), (right, left)]}[head]
        return [_atom(form.line, less, more) for less, more in ordered]
    if head in ("<", ">", "=>", "not"):
        raise NotReadable(form.line, f"{head} is not read: counterexamples are described by <=, >=, and, or")
    raise NotReadable(form.line, f"{_shown(head or '(')} is none of <=, >=, = (of two sides), and, or")


_Linear = dict[tuple[str, int], Fraction]
_ONE = ("", 0)  # what a number is the coefficient of


def _linear(form: _Form, declared: Mapping[str, set[int]]) -> _Linear:
    """A sum of variables times numbers."""
    if isinstance(form, _Word):
        number = _number(form.text, form.line)
        if number is not None:
            return {_ONE: number}
        letter, index = _variable(form.text, form.line)
        if index not in declared[letter]:
            raise NotReadable(form.line, f"{form.text} is not declared above")
        return {(letter, index): Fraction(1)}
    head = _text(form.parts[0]) if form.parts else None
    terms = [_linear(part, declared) for part in form.parts[1:]]
    if head == "*" and terms and sum(set(term) != {_ONE} for term in terms) <= 1:
        factor = math.prod((term[_ONE] for term in terms if set(term) == {_ONE}), start=Fraction(1))
        rest = [term for term in terms if set(term) != {_ONE}]
        return {name: factor * c for name, c in (rest[0] if rest else {_ONE: Fraction(1)}).items()}
    if head in ("+", "-") and terms:
        total = dict(terms[0]) if head == "+" or len(terms) > 1 else {}
        for term in terms[1:] if total or len(terms) > 1 else terms:
            for name, c in term.items():
                total[name] = total.get(name, Fraction(0)) + (c if head == "+" else -c)
        return total
    raise NotReadable(form.line, "this is no sum of variables times numbers (+, -, *)")


def _atom(line: int, less: _Linear, more: _Linear) -> _Atom:
    names = [name for name in {*less, *more} if name != _ONE]
    coefficients = {name: less.get(name, Fraction(0)) - more.get(name, Fraction(0)) for name in names}
    letters = {letter for letter, _ in coefficients}
    limit = more.get(_ONE, Fraction(0)) - less.get(_ONE, Fraction(0))
    if len(letters) != 1:
        raise NotReadable(line, "an inequality is of inputs or of outputs: none, or both, are in this one")
    kept = {index: c for (_, index), c in sorted(coefficients.items()) if c}
    if letters == {"X"} and len(kept) != 1:
        raise NotReadable(line, "an inequality of inputs is of one input and a number: boxes alone are read")
    return _Atom(line, letters.pop(), kept, limit)


def _property(inputs: int, outputs: int, asserted: list[_Conjunction], last: int) -> Property:
    """Multiplied out, with inequalities that stand outside of every ``or`` kept apart, as there are thousands."""
    parts = [part for conjunction in asserted for part in conjunction]
    base = [part for part in parts if isinstance(part, _Atom)]
    choices = [part for part in parts if isinstance(part, _Or)]
    count = math.prod(_count(choice)[0] for choice in choices)
    if count > MOST_CASES:
        raise NotReadable(last, f"its ors multiply out to {count} cases, more than {MOST_CASES}")
    if count * sum(_count(choice)[1] for choice in choices) > MOST_NUMBERS:
        raise NotReadable(last, f"its cases have more than {MOST_NUMBERS} inequalities")
    common = _bounds(base, {})
    shared = tuple(Inequality(atom.coefficients, atom.limit) for atom in base if atom.letter == "Y")
    ways: dict[tuple[tuple[int, _Ends], ...], list[tuple[Inequality, ...]]] = {}
    for chosen in product(*(_options(choice) for choice in choices)):
        atoms = [atom for option in chosen for atom in option]
        own = _bounds([atom for atom in atoms if atom.letter == "X"], common)
        way = shared + tuple(Inequality(atom.coefficients, atom.limit) for atom in atoms if atom.letter == "Y")
        ways.setdefault(tuple(sorted(own.items())), []).append(way)
    if len(ways) * inputs > MOST_NUMBERS:
        raise NotReadable(last, f"its {len(ways)} boxes have more than {MOST_NUMBERS} ends")
    cases = (_case({**common, **dict(own)}, inputs, tuple(ways_), last) for own, ways_ in ways.items())
    return Property(inputs, outputs, tuple(case for case in cases if case is not None))


def _count(part: _Atom | _Or) -> tuple[int, int]:
    """How many conjunctions it multiplies out to, and the most atoms of all of them, without doing so."""
    if isinstance(part, _Atom):
        return 1, 1
    cases = atoms = 0
    for option in part.options:
        counts = [_count(inner) for inner in option]
        cases += math.prod(c for c, _ in counts)
        atoms += sum(a for _, a in counts)
    return cases, atoms


def _options(part: _Atom | _Or) -> Iterator[list[_Atom]]:
    if isinstance(part, _Atom):
        yield [part]
        return
    for option in part.options:
        for chosen in product(*(list(_options(inner)) for inner in option)):
            yield [atom for atoms in chosen for atom in atoms]


_Ends = tuple[Fraction | None, Fraction | None]


def _bounds(atoms: Sequence[_Atom], common: Mapping[int, _Ends]) -> dict[int, _Ends]:
    """The ends of the inputs that are spoken of, those of ``common`` met with."""
    bounds: dict[int, _Ends] = {}
    for atom in atoms:
        if atom.letter == "Y":
            continue
        [(index, c)] = atom.coefficients.items()
        low, high = bounds.get(index, common.get(index, (None, None)))
        end = atom.limit / c
        if c > 0:
            high = end if high is None else min(high, end)
        else:
            low = end if low is None else max(low, end)
        bounds[index] = (low, high)
    return bounds


def _case(bounds: Mapping[int, _Ends], inputs: int, ways: tuple[tuple[Inequality, ...], ...], last: int) -> Case | None:
    """None: the box is empty."""
    lower, upper = [], []
    for i in range(inputs):
        low, high = bounds.get(i, (None, None))
        if low is None or high is None:
            raise NotReadable(
                last, f"X_{i} has no {'lower' if low is None else 'upper'} bound, which every input needs"
            )
        lower.append(low)
        upper.append(high)
    if any(low > high for low, high in zip(lower, upper, strict=True)):
        return None
    return Case(tuple(lower), tuple(upper), ways)
