"""One thing wrong with a case: an attribute, a constant or a size out of its range."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.graph.case import Case

INTEGERS = (-1, 0, 2, 3, 7, -3, 2**31 - 1, -(2**31), 2**62, -(2**63))
FLOATS = (0.0, -1.0, -0.5, float("inf"), float("-inf"), float("nan"))
STRINGS = ("", "nothing", "SAME_UPPER", "linear", "\u00e9")


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[Case]) -> Case:
    """A case with one value changed, dropped or added; it may still be a good one."""
    case = draw(whole)
    constants = [i for i, value in enumerate(case.inputs) if isinstance(value, np.ndarray)]
    choices = [*case.attributes, *constants, "shape", "inputs"]
    target: Any = draw(st.sampled_from(choices))
    if target == "shape":
        return replace(case, shape=tuple(_list(draw, list(case.shape), (1, 2, 3, 5)))[:5])
    if target == "inputs":
        return replace(case, inputs=_inputs(draw, case.inputs))
    if isinstance(target, int):
        inputs = list(case.inputs)
        inputs[target] = _array(draw, case.inputs[target])
        return replace(case, inputs=tuple(inputs))
    return replace(case, attributes=case.attributes | {target: _attribute(draw, case.attributes[target])})


def _attribute(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, str):
        return draw(st.sampled_from(STRINGS))
    if isinstance(value, int):
        return draw(st.sampled_from(INTEGERS))
    if isinstance(value, float):
        return draw(st.sampled_from(FLOATS))
    return _list(draw, list(value), FLOATS if isinstance(value[0], float) else INTEGERS) or [1]


def _list(draw: st.DrawFn, values: list[Any], wild: tuple[Any, ...]) -> list[Any]:
    at = draw(st.integers(0, len(values) - 1))
    entry = draw(st.sampled_from(wild))
    return draw(
        st.sampled_from([[*values[:at], entry, *values[at + 1 :]], values[:-1], [*values, entry], [entry, *values]])
    )


def _array(draw: st.DrawFn, array: np.ndarray) -> np.ndarray:
    how = draw(st.sampled_from(("entry", "axis", "drop", "repeat", "type")))
    if how == "entry" and array.size:
        changed = array.copy()
        wild = FLOATS if array.dtype.kind == "f" else INTEGERS if array.dtype.kind == "i" else (True, False)
        entry = draw(st.sampled_from(wild))
        fits = array.dtype.kind != "i" or np.iinfo(array.dtype).min <= entry <= np.iinfo(array.dtype).max
        changed.reshape(-1)[draw(st.integers(0, array.size - 1))] = entry if fits else -1
        return changed
    if how == "axis":
        return array[np.newaxis]
    if how == "drop" and array.size and array.ndim:
        return array[0]
    if how == "repeat" and array.ndim:
        return np.concatenate([array, array])
    return array.astype(np.int64 if array.dtype.kind == "f" else np.float32)


def _inputs(draw: st.DrawFn, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    at = draw(st.integers(0, len(inputs) - 1))
    changed = draw(st.sampled_from(["swap", "drop", "activation", *(["empty"] if len(inputs) > 1 else [])]))
    if changed == "swap":
        return inputs[::-1]
    if changed == "drop":
        return inputs[:-1] or ("x", "x")
    return (*inputs[:at], "" if changed == "empty" else "x", *inputs[at + 1 :])
