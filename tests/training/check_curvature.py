"""``curvature.json``: a small ReLU network, and the same function with its layers rescaled."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from radii.diagnostics import Curvature, Objective, curvature
from radii.diagnostics.closed import dense_trace, last_layer, softmax_lambda_max

RESCALED = 4.0  # W1 times that, W2 divided by it


def differences(values: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    weights = [tensor(values[name]) for name in ("W1", "W2")]
    found = {}
    for case, factor in (("expected", 1.0), ("rescaled", RESCALED)):
        found[case] = _figures([weights[0] * factor, weights[1] / factor], tensor(values["x"]), values["y"])
        yield from _compared(case, found[case], values[case])
    for name in values["invariant"]:
        yield from _compared("invariant", {name: found["rescaled"][name]}, {name: found["expected"][name]})
    for i, case in enumerate(values["hand"]["cases"]):
        logits, h = tensor([case["logits"]]), tensor([case["h"]])
        largest = float(softmax_lambda_max(logits.softmax(1))[0] * h.square().sum())
        yield f"hand {i} trace", last_layer(logits, h).trace, case["trace"]
        yield f"hand {i} lambda_max", largest, case["lambda_max"]
    yield from _decay(values["activation_decay"])


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def mlp(weights: list[Tensor]) -> nn.Sequential:
    """Dense layers of these weights, without biases, ReLU between them."""
    layers: list[nn.Module] = []
    for weight in weights:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=torch.float64)
        layer.weight = nn.Parameter(weight.clone())
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def _figures(weights: list[Tensor], x: Tensor, y: list[int]) -> dict[str, Any]:
    network = mlp(weights)
    size = sum(weight.numel() for weight in weights)
    report: Curvature = curvature(network, x, y, steps=size, layer_steps=size)
    hidden = x @ weights[0].T
    logits = network(x).detach()
    jacobian = weights[1] * (hidden > 0)[:, None, :]  # of the logits in the first layer's outputs
    hessian = Objective(network, x, y).hessian()
    assert report.last_layer is not None and report.inputs is not None
    assert report.layers[1].lambda_max is not None
    return {
        "loss": report.loss,
        "trace": report.trace.value,
        "lambda_max": report.lambda_max.value,
        "lambda_min": report.lambda_min.value,
        "frobenius_sq": report.frobenius_squared.value,
        "trace_W1": report.layers[0].trace.value,
        "trace_W2": report.layers[1].trace.value,
        "lambda_max_W2": report.layers[1].lambda_max.value,
        "closed_trace_W2": report.last_layer.trace,
        "bound_lambda_max_W2_mean": report.last_layer.mean_lambda_max,
        "half_mean_h2": report.last_layer.half_mean_square,
        "closed_trace_W1": dense_trace(logits, jacobian, x),
        "adaptive_lambda_max": report.scale_free.lambda_max.value,
        "wHw": report.scale_free.quadratic,
        "layer_norm2_trace": report.scale_free.norms_times_traces.value,
        "input_lambda_max": report.inputs.tolist(),
        "hutchinson_rademacher_variance_of_one_probe": float(
            2 * (hessian.square().sum() - hessian.diagonal().square().sum())
        ),
    }


def _compared(case: str, found: dict[str, Any], expected: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    for name, value in expected.items():
        if isinstance(value, list):
            for i, (one, two) in enumerate(zip(found[name], value, strict=True)):
                yield f"{case} {name}[{i}]", one, two
        else:
            yield f"{case} {name}", found[name], value


def _decay(case: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    """``CE + s^2 |h|^2 / 2`` and ``CE(z - s^2 |h|^2 e_y)``: what noise of the last layer's weights costs at most."""
    logits, label = tensor([case["logits"]]), torch.tensor([case["y"]])
    noise = case["s"] ** 2 * float(tensor(case["h"]).square().sum())
    loss = nn.functional.cross_entropy
    yield "activation_decay ce", float(loss(logits, label)), case["ce"]
    yield "activation_decay decay", float(loss(logits, label)) + noise / 2, case["decay"]
    shift = noise * nn.functional.one_hot(label, logits.shape[1])
    yield "activation_decay shifted", float(loss(logits - shift, label)), case["shifted"]
