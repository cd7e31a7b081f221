"""The shared values of 1-Lipschitz layers, each beside what this library makes of the same weights, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from radii.layers import AOL, CPL, SLL, SOC, Convolution, Dense, GroupSort, cayley, column_factor, residual, row_bound
from radii.lipschitz import gram_norm

Difference = tuple[str, float, float]
"""A name, what was found, what is expected."""

ENOUGH = 40  # Gram products after which the estimate is the norm to 1e-12, be it tied or not


def differences(values: dict[str, Any]) -> Iterator[Difference]:
    """Every number of the file: what is found by the library's public functions, and what is expected."""
    given = {name: _tensor(values[name]) for name in ("W", "b", "x", "log_q", "K", "bc", "xc", "lqc")}
    expected = values["expected"]
    for steps in (1, 2, 3):
        yield from _sll_dense(f"sll_dense_t{steps}", given, expected[f"sll_dense_t{steps}"], steps)
        yield from _aol_dense(f"aol_dense_t{steps}", given, expected[f"aol_dense_t{steps}"], steps)
        for mode, short in (("zeros", "zero"), ("circular", "circular")):
            name = f"conv_{short}_t{steps}"
            yield from _sll_conv(f"sll_{name}", given, expected[f"sll_{name}"], steps, mode)
            yield from _aol_conv(f"aol_{name}", given, expected[f"aol_{name}"], steps, mode)
    for mode, short in (("zeros", "zero"), ("circular", "circular")):
        on = Convolution(3, padding_mode=mode)
        norm = gram_norm(_matrix(given["K"], on), steps=ENOUGH)
        yield f"conv_norm_{short}", float(norm), expected[f"conv_norm_{short}"]
        y = residual(given["xc"][None], given["K"], given["bc"], norm.square(), on)
        yield f"cpl_conv_{short}_y_norm", float(y.norm()), expected[f"cpl_conv_{short}_y_norm"]
    strided = Convolution(3, stride=2)
    bound = row_bound(given["K"], strided)
    yield from _each("conv_stride2_T", bound, expected["conv_stride2_T"])
    yield "conv_stride2_min_eig", _gap(bound, given["K"], strided), expected["conv_stride2_min_eig"]
    cpl = _filled(CPL(4, 5, steps=ENOUGH, slack=0), weight=given["W"], bias=given["b"])
    yield "cpl_dense norm", float(cpl.bound((4,)).sqrt()), expected["cpl_dense"]["norm"]
    yield from _each("cpl_dense y", cpl(given["x"][None])[0], expected["cpl_dense"]["y"])
    yield from _soc(given, expected["soc_dense"])
    made = cayley(given["W"])
    yield from _each("cayley_dense", made, expected["cayley_dense"])
    orthogonal = torch.linalg.matrix_norm(made.mT @ made - torch.eye(4, dtype=torch.float64), 2)
    yield "cayley_orth_err", float(orthogonal), expected["cayley_orth_err"]
    pairs = expected["groupsort2"]
    yield from _each("groupsort2 y", GroupSort(2)(_tensor(pairs["x"])), pairs["y"])


def _sll_dense(name: str, given: dict[str, Tensor], expected: dict[str, Any], steps: int) -> Iterator[Difference]:
    layer = _filled(SLL(4, 5, steps=steps, slack=0), weight=given["W"], bias=given["b"], log_q=given["log_q"])
    bound = layer.bound((4,))
    yield from _each(f"{name} T", bound, expected["T"])
    yield from _each(f"{name} y", layer(given["x"][None])[0], expected["y"])
    yield f"{name} min_eig", _gap(bound, given["W"], Dense()), expected["min_eig_T_minus_WWt"]


def _aol_dense(name: str, given: dict[str, Tensor], expected: dict[str, Any], steps: int) -> Iterator[Difference]:
    layer = _filled(AOL(4, 5, steps=steps, bias=False, slack=0), weight=given["W"])
    yield from _each(f"{name} D", column_factor(given["W"], steps=steps), expected["D"])
    yield f"{name} norm", float(torch.linalg.matrix_norm(layer.scaled(), 2)), expected["norm"]
    yield from _each(f"{name} y", layer(given["x"][None])[0], expected["y"])


def _sll_conv(
    name: str, given: dict[str, Tensor], expected: dict[str, Any], steps: int, mode: str
) -> Iterator[Difference]:
    layer = SLL(2, 3, kernel_size=3, padding_mode=mode, steps=steps, slack=0)
    _filled(layer, weight=given["K"], bias=given["bc"], log_q=given["lqc"])
    bound, y = layer.bound((2, 5, 5)), layer(given["xc"][None])
    yield from _each(f"{name} T", bound, expected["T"])
    yield f"{name} y_sum", float(y.sum()), expected["y_sum"]
    yield f"{name} y_norm", float(y.norm()), expected["y_norm"]
    yield f"{name} min_eig", _gap(bound, given["K"], Convolution(3, padding_mode=mode)), expected["min_eig"]


def _aol_conv(
    name: str, given: dict[str, Tensor], expected: dict[str, Any], steps: int, mode: str
) -> Iterator[Difference]:
    layer = _filled(AOL(2, 3, kernel_size=3, padding_mode=mode, steps=steps, slack=0), weight=given["K"])
    on = Convolution(3, padding_mode=mode)
    yield from _each(f"{name} D", column_factor(given["K"], on, steps=steps), expected["D"])
    yield f"{name} norm", float(torch.linalg.matrix_norm(_matrix(layer.scaled(), on), 2)), expected["norm"]


def _soc(given: dict[str, Tensor], expected: dict[str, Any]) -> Iterator[Difference]:
    skew = _tensor(expected["A"])
    exact = torch.linalg.matrix_exp(skew)
    for terms, case in expected["terms"].items():
        layer = _filled(SOC(4, terms=int(terms), bias=False, steps=ENOUGH, slack=0), weight=skew / 2)  # W - W^T is A
        made = layer(torch.eye(4, dtype=torch.float64)).mT
        yield f"soc_dense {terms} norm", float(torch.linalg.matrix_norm(made, 2)), case["norm"]
        yield f"soc_dense {terms} error", float(torch.linalg.matrix_norm(made - exact, 2)), case["error"]
        factorial = float(torch.arange(1, int(terms) + 1, dtype=torch.float64).prod())
        yield f"soc_dense {terms} bound", 1 / factorial, case["bound"]
    layer = _filled(SOC(4, terms=24, bias=False, steps=ENOUGH, slack=0), weight=skew / 2)
    yield from _each("soc_dense y", layer(given["x"][None])[0], expected["y"])


def _filled(layer: Any, **parameters: Tensor) -> Any:
    """The layer in float64 with these parameters; a bias not named is 0."""
    layer.double()
    for name, value in parameters.items():
        getattr(layer, name).data = value.clone()
    return layer.requires_grad_(False)


def _matrix(weight: Tensor, on: Dense | Convolution) -> Tensor:
    """The explicit matrix (outputs, inputs), of a convolution on images of 5x5 pixels."""
    shape = (weight.shape[1], 5, 5) if weight.ndim > 2 else (weight.shape[1],)
    unit = torch.eye(int(torch.tensor(shape).prod()), dtype=torch.float64)
    return on.apply(unit.reshape(-1, *shape), weight).flatten(1).mT


def _gap(bound: Tensor, weight: Tensor, on: Dense | Convolution) -> float:
    """The smallest eigenvalue of ``diag(T) - W W^T``."""
    matrix = _matrix(weight, on)
    diagonal = torch.diag(bound.repeat_interleave(len(matrix) // len(bound)))
    return float(torch.linalg.eigvalsh(diagonal - matrix @ matrix.mT)[0])


def _tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _each(name: str, found: Tensor, expected: Any) -> Iterator[Difference]:
    for i, (a, b) in enumerate(zip(found.flatten().tolist(), _tensor(expected).flatten().tolist(), strict=True)):
        yield f"{name}[{i}]", a, b
