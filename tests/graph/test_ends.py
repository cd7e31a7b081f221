"""Ends of classifiers: what keeps the order of the classes is left out, what may not keep it stays. The logits are
linear, so radii are known exactly; onnxruntime says what a whole file answers."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from radii.graph import Graph, Node, UnsupportedModel, left_out, methods, read_onnx, to_module, undecorated
from radii.graph.ops.activation import Relu
from radii.lipschitz import UnboundedModel, margin_radius, network_bound
from tests.acceptance import real
from tests.graph.build import model, node, reference
from tests.graph.export import export
from tests.test_linear_classifier import exact

CLASSES, SIZE = 4, 5
RANDOM = np.random.default_rng(3)
WEIGHT = RANDOM.normal(size=(SIZE, CLASSES)).astype(np.float32)
NUMBERS = {"zero": 0, "one": 1, "minus": -1, "half": 0.5, "two": 2, "three": 3, "third": 1 / 3, "low": 1e-7}
NUMBERS |= {"most": 1 - 1e-7, "tiny": 1e-3, "six": 6, "least": -6}
CONSTANTS = {name: np.array(value, np.float32) for name, value in NUMBERS.items()} | {
    "w": WEIGHT,
    "v": RANDOM.normal(size=(SIZE, 1)).astype(np.float32),
    "axis": np.array([1]),
    "row": np.array([-1, CLASSES]),
    "high": np.array([-1, CLASSES, 1, 1]),
    "square": np.array([-1, 2, 2]),
    "vector": np.array([0.5, 1, 2, 3], np.float32),
    "threes": np.full((1, CLASSES), 3, np.float32),
}
X = RANDOM.normal(size=(400, SIZE)).astype(np.float32)
LOGITS = X.astype(np.float64) @ WEIGHT

Part = tuple[str, str] | tuple[str, str, str] | tuple[str, str, str, dict[str, Any]]


def ending_in(*parts: Part, opset: int = 18) -> bytes:
    """The classifier with nodes behind its logits ``h``: (operator, inputs, output, attributes), the last one ``y``."""
    nodes = [node("MatMul", ["x", "w"], "h")]
    for part in parts:
        operator, names, output = part[0], part[1].split(), part[2] if len(part) > 2 else "y"
        attributes = part[3] if len(part) > 3 else {}
        if operator.startswith("Reduce") and opset < (13 if operator == "ReduceSum" else 18):
            attributes = {"axes": [1]}
        elif operator.startswith("Reduce"):
            names.append("axis")
        nodes.append(node(operator, names, output, **attributes))
    return model(nodes, (SIZE,), CONSTANTS, opset=opset)


EXP, SUM, ALONG = ("Exp", "h", "e"), ("ReduceSum", "e", "s"), {"axis": 1}
SOFTMIN: tuple[Part, ...] = (("Neg", "h", "n"), ("Softmax", "n", "p", ALONG))
SOFTMAX, SIGMOID = ("Softmax", "h", "p", ALONG), ("Sigmoid", "h", "p")
KEEPS: dict[str, tuple[Part, ...]] = {
    "softmax": (("Softmax", "h", "y", ALONG),),
    "log-softmax": (("LogSoftmax", "h", "y", ALONG),),
    "log of softmax": (SOFTMAX, ("Log", "p")),
    "log of softmax above a small number": (SOFTMAX, ("Add", "p low", "q"), ("Log", "q")),
    "softmax by hand": (EXP, SUM, ("Div", "e s")),
    "stable softmax by hand": (("ReduceMax", "h", "m"), ("Sub", "h m", "d"), ("Exp", "d", "e"), SUM, ("Div", "e s")),
    "log of softmax by hand": (EXP, SUM, ("Div", "e s", "p"), ("Log", "p")),
    "softmax by hand, clipped": (EXP, SUM, ("Div", "e s", "p"), ("Clip", "p low most")),
    "softmax, clipped": (SOFTMAX, ("Clip", "p low most")),
    "softmax, clipped to a half, its log": (SOFTMAX, ("Clip", "p low half", "q"), ("Log", "q")),
    "softmax, not above a half": (SOFTMAX, ("Min", "p half")),
    "softmax, not below a small number": (SOFTMAX, ("Max", "low p")),
    "softmax of softmax": (SOFTMAX, ("Softmax", "p", "y", ALONG)),
    "less log of the sum": (EXP, SUM, ("Log", "s", "l"), ("Sub", "h l")),
    "less logsumexp": (("ReduceLogSumExp", "h", "l"), ("Sub", "h l")),
    "less the maximum": (("ReduceMax", "h", "m"), ("Sub", "h m")),
    "less the mean, times three": (("ReduceMean", "h", "m"), ("Sub", "h m", "d"), ("Mul", "d three")),
    "dueling": (("ReduceMean", "h", "m"), ("Sub", "h m", "d"), ("MatMul", "x v", "t"), ("Add", "t d")),
    "sigmoid": (("Sigmoid", "h"),),
    "sigmoid spelled out": (("Neg", "h", "n"), ("Exp", "n", "e"), ("Add", "one e", "d"), ("Div", "one d")),
    "sigmoid by tanh": (("Mul", "half h", "a"), ("Tanh", "a", "t"), ("Add", "t one", "u"), ("Mul", "u half")),
    "softplus spelled out": (EXP, ("Add", "e one", "u"), ("Log", "u")),
    "times three": (("Mul", "h three"),),
    "three times": (("Mul", "three h"),),
    "times three for each class": (("Mul", "h threes"),),
    "over a temperature": (("Div", "h three"),),
    "over a temperature, softmax": (("Div", "h three", "t"), ("Softmax", "t", "y", ALONG)),
    "over a learned temperature": (("MatMul", "x v", "t"), ("Softplus", "t", "u"), ("Div", "h u")),
    "negated twice": (("Neg", "h", "n"), ("Mul", "n minus")),
    "one less softmin": (*SOFTMIN, ("Sub", "one p")),
    "cubed": (("Pow", "h three"),),
    "reciprocals": (EXP, ("Reciprocal", "e", "r"), ("Neg", "r")),
    "a sum of two that rise": (EXP, ("Add", "e one", "u"), ("Sqrt", "u", "r"), ("Sum", "r h one")),
    "over the largest": (EXP, ("ReduceMax", "e", "m"), ("Div", "e m")),
    "normalised": (("ReduceL2", "h", "n"), ("Max", "n tiny", "m"), ("Div", "h m")),
    "reshaped there and back": (("Reshape", "h high", "a"), ("Sigmoid", "a", "b"), ("Reshape", "b row")),
    "softmax over channels": (("Reshape", "h high", "a"), ("Softmax", "a", "b", ALONG), ("Flatten", "b")),
    "leaky": (("LeakyRelu", "h", "y", {"alpha": 0.1}),),
    "elu of tanh": (("Tanh", "h", "t"), ("Elu", "t", "y", {"alpha": 2.0})),
    "relu of sigmoid": (SIGMOID, ("Relu", "p")),
}


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("end", KEEPS)
def test_an_end_that_keeps_the_order_is_left_out(end: str, opset: int) -> None:
    data = ending_in(*KEEPS[end], opset=opset)
    whole, plain = read_onnx(data), read_onnx(model([node("MatMul", ["x", "w"])], (SIZE,), CONSTANTS))
    assert undecorated(whole).digest == plain.digest
    assert {node.index for node in left_out(whole)} == set(range(1, 1 + len(KEEPS[end])))
    # the file's answer is the logits'; nothing saturates here
    assert np.array_equal(reference(data, X).argmax(1), LOGITS.argmax(1))
    (applies,) = (method for method in methods(whole) if method["kind"] == "lipschitz")
    assert applies["applies"]


@pytest.mark.parametrize("end", KEEPS)
def test_its_radii_are_the_exact_ones_from_below(end: str) -> None:
    bound = network_bound(read_onnx(ending_in(*KEEPS[end])))
    assert bound.upper == pytest.approx(np.linalg.norm(WEIGHT.astype(np.float64), 2), rel=1e-6)
    margins = margin_radius(bound.logits(X), bound, norms=np.linalg.norm(X, axis=1))
    for x, margin in zip(X[:50], margins, strict=False):
        prediction, radius = exact(WEIGHT.T, np.zeros(CLASSES), x)
        assert margin.prediction == prediction
        assert margin.radius is not None
        assert radius * (1 - 1e-6) <= margin.radius <= radius


# A tie at the end goes to the class of the lowest index, whichever logit is larger.
STAYS: dict[str, tuple[Part, ...]] = {
    "relu": (("Relu", "h"),),
    "clip": (("Clip", "h least six"),),
    "hard sigmoid": (("HardSigmoid", "h"),),
    "not above one": (("Min", "h one"),),
    "not below one for each class": (("Max", "h vector"),),
    "sigmoid, clipped": (SIGMOID, ("Clip", "p tiny most")),
    "softmax, not below a third": (SOFTMAX, ("Max", "p third")),
    "softmax, not above a third": (SOFTMAX, ("Clip", "p low third")),
    "softmin, not below a small number": (*SOFTMIN, ("Max", "p low", "q"), ("Neg", "q")),
    "negated": (("Neg", "h"),),
    "times minus one": (("Mul", "h minus"),),
    "times zero": (("Mul", "h zero"),),
    "over a negative number": (("Div", "h least"),),
    "one less softmax": (SOFTMAX, ("Sub", "one p")),
    "times a vector": (("Mul", "h vector"),),
    "sigmoid plus a vector": (SIGMOID, ("Add", "p vector")),
    "softmax of pairs": (("Reshape", "h square", "a"), ("Softmax", "a", "b", {"axis": 2}), ("Reshape", "b row")),
    "softmax of one": (("Reshape", "h high", "a"), ("Softmax", "a", "b", {"axis": 2}), ("Reshape", "b row")),
    "transposed": (("Reshape", "h square", "a"), ("Transpose", "a", "b", {"perm": [0, 2, 1]}), ("Reshape", "b row")),
    "the absolute value": (("Abs", "h"),),
    "squared": (("Pow", "h two"),),
    "the logarithm": (("Log", "h"),),
    "the reciprocal": (("Reciprocal", "h"),),
    "silu": (SIGMOID, ("Mul", "h p")),
    "over the least": (("ReduceMin", "h", "m"), ("Div", "h m")),
    "times a factor of any sign": (("MatMul", "x v", "t"), ("Mul", "h t")),
    "plus a logarithm": (("MatMul", "x v", "t"), ("Log", "t", "l"), ("Add", "h l")),
    "another sum": (EXP, ("Sub", "h e")),
    "sine": (("Sin", "h"),),
}


@pytest.mark.parametrize("end", STAYS)
def test_an_end_that_may_change_the_order_stays(end: str) -> None:
    """Its radii, where it has any, hold for the whole file."""
    data = ending_in(*STAYS[end])
    graph = read_onnx(data)
    assert undecorated(graph) is graph
    assert left_out(graph) == ()
    assert any((reference(data, scale * X).argmax(1) != LOGITS.argmax(1)).any() for scale in (np.float32(0.1), 1, 10))
    try:
        bound = network_bound(graph)
    except UnboundedModel:
        return
    margins = margin_radius(bound.logits(X), bound, norms=np.linalg.norm(X, axis=1))
    answers: list[int] = reference(data, X).argmax(1).tolist()
    for x, margin, answer in zip(X, margins, answers, strict=True):
        if margin.radius is not None and margin.radius > 1e-5:
            assert margin.prediction == answer
            away: np.ndarray = (WEIGHT - WEIGHT[:, [answer]]).T[np.arange(CLASSES) != answer]
            away = np.concatenate([away, -away]) / np.linalg.norm(away, axis=1).repeat(2)[:, None].clip(1e-9)
            away /= np.linalg.norm(away, axis=1, keepdims=True)
            near = (x + min(margin.radius, 1e3) * (1 - 1e-4) * away).astype(np.float32)
            assert (reference(data, near).argmax(1) == answer).all()


def test_the_limits_of_a_clip_as_attributes() -> None:
    for low, kept in ((1e-7, False), (0.3, True)):
        limits = {"min": low, "max": 1.0}
        graph = read_onnx(ending_in(SOFTMAX, ("Clip", "p", "y", limits), opset=10))
        assert (undecorated(graph) is graph) == kept


class Ends(nn.Module):
    """A convolution's channels as logits (batch, 3, 1, 1), then flat, then an end."""

    def __init__(self, end: nn.Module) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(2, 3, 4), nn.Flatten())
        self.end = end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z: torch.Tensor = self.end(self.features(x))
        return z


class Lambda(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.function(x)
        return y


TORCH = {
    "softmax": nn.Softmax(1),
    "log-softmax": nn.LogSoftmax(1),
    "sigmoid": nn.Sigmoid(),
    "temperature": Lambda(lambda z: F.softmax(z / 1.5, dim=-1)),
    "by hand": Lambda(lambda z: z.exp() / z.exp().sum(-1, keepdim=True)),
    "stable": Lambda(lambda z: (z - z.amax(1, keepdim=True)).exp()),
    "logsumexp": Lambda(lambda z: z - torch.logsumexp(z, 1, keepdim=True)),
    "clamped": Lambda(lambda z: torch.log(F.softmax(z, 1).clamp(1e-6, 1 - 1e-6))),
    "normalised": Lambda(lambda z: 3 * F.normalize(z, dim=1)),
    "softmax, less max": Lambda(lambda z: F.softmax(z - z.max(1, keepdim=True).values, 1)),
    "capped": Lambda(lambda z: 30 * torch.tanh(z / 30)),
}


@pytest.mark.parametrize(("dynamo", "opset"), [(True, 20), (False, 11), (False, 17)])
@pytest.mark.parametrize("end", TORCH)
def test_ends_as_the_exporters_spell_them(end: str, dynamo: bool, opset: int) -> None:
    torch.manual_seed(0)
    network = Ends(TORCH[end]).eval()
    data = export(network, (2, 4, 4), dynamo=dynamo, opset=opset, dynamic=True)
    graph = undecorated(read_onnx(data))
    assert {node.operator.name for node in graph.nodes} <= {"Conv", "Flatten", "Reshape"}
    x = torch.randn(50, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(to_module(graph)(x), network.features(x), atol=1e-5)
    assert np.array_equal(reference(data, x.numpy()).argmax(1), to_module(graph)(x).argmax(1).numpy())


def test_a_long_end_and_one_that_is_all_of_the_network() -> None:
    softmax = read_onnx(model([node("Softmax", ["x"], axis=1)], (SIZE,)))
    assert undecorated(softmax).nodes == ()
    assert float(network_bound(softmax).upper) == 1
    nodes = [Node(Relu(), (str(i),), str(i + 1), i) for i in range(3000)]
    graph = Graph.build("0", (SIZE,), "3000", nodes)
    assert undecorated(graph) is graph


def test_what_is_no_classifier_is_bounded_as_it_is() -> None:
    data = ending_in(("Mul", "h three"))
    outputs, logits = network_bound(read_onnx(data), task="regressor"), network_bound(read_onnx(data))
    assert outputs.upper == pytest.approx(3 * logits.upper, rel=1e-6)
    assert [node.operator.name for node in logits.left_out] == ["Mul"]
    assert outputs.left_out == ()


@pytest.mark.parametrize("name", ["end_softmax", "end_sigmoid"])
def test_files_that_end_in_probabilities(name: str) -> None:
    """By path, as a graph, in every way the bound is that of the logits; what is no logit makes no false radius."""
    file = real(f"{name}.onnx")
    graph = read_onnx(file.read_bytes())
    weight = next(iter(graph.nodes[0].operator.arrays().values())).astype(np.float64)
    weight = weight if weight.shape[0] == 4 else weight.T
    for network in (file, str(file), graph, undecorated(graph)):
        bound = network_bound(network)
        assert bound.upper == pytest.approx(7.4187, abs=1e-4)
        assert bound.upper >= np.linalg.norm(weight, 2)
    x = RANDOM.normal(size=(300, 5)).astype(np.float32)
    norms = np.linalg.norm(x, axis=1)
    logits = bound.logits(x)
    assert np.allclose(logits.numpy(), x @ weight.T, atol=1e-12)
    probabilities = reference(file.read_bytes(), x).astype(np.float64)
    for row, margin, less in zip(
        x, margin_radius(logits, bound, norms=norms), margin_radius(probabilities, bound, norms=norms), strict=True
    ):
        prediction, radius = exact(weight, np.zeros(4), row)
        assert (margin.prediction, less.prediction) in [(prediction, prediction), (prediction, less.prediction)]
        assert margin.radius is not None
        assert radius * (1 - 1e-6) <= margin.radius <= radius
        assert (less.radius or 0) <= radius


def test_one_logit_beside_zero() -> None:
    """``(0, h)``: a binary classifier's radius is ``|h| / ||w||``, not less by the square root of 2."""
    bound = network_bound(real("two_mul0.onnx"))
    graph = bound.graph
    weight = next(node.operator.arrays()["weight"] for node in graph.nodes if node.operator.name == "MatMul")
    slope = np.linalg.norm(weight.astype(np.float64))
    assert slope <= bound.pairs(0)[1] <= slope * (1 + 1e-6)
    assert bound.upper == pytest.approx(slope, rel=1e-6)


def test_a_duel_is_decided_by_its_advantages() -> None:
    bound = network_bound(real("dueling.onnx"))
    assert bound.upper <= 1.88
    assert max(bound.pairs(label).max() for label in range(bound.num_classes)) <= 1.88 * np.sqrt(2)


PROBABILITY: list[Part] = [("MatMul", "x v", "z"), ("Sigmoid", "z", "p"), ("Sub", "one p", "q")]
PAIRS: dict[str, tuple[list[Part], int]] = {  # the class at which the logit is the other's lead
    "1 - p, p": ([("Concat", "q p", "y", ALONG)], 1),
    "p, 1 - p": ([("Concat", "p q", "y", ALONG)], 0),
    "twice negated": ([("Neg", "p", "n"), ("Add", "n one", "r"), ("Concat", "r p", "y", ALONG)], 1),
    "then a softmax": ([("Concat", "q p", "c", ALONG), ("Softmax", "c", "y", ALONG)], 1),
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("scale", [1, 100])
def test_a_probability_and_its_complement_are_bounded_by_the_logit(pair: str, scale: float) -> None:
    """Its radii are ``|z| / ||v||``, also where the sigmoid saturates."""
    parts, positive = PAIRS[pair]
    data = ending_in(*PROBABILITY, *parts)
    bound = network_bound(read_onnx(data))
    slope = np.linalg.norm(CONSTANTS["v"].astype(np.float64))
    x = (scale * X[:100]).astype(np.float32)
    z = (x.astype(np.float64) @ CONSTANTS["v"])[:, 0]
    margins = margin_radius(bound.logits(x), bound, norms=np.linalg.norm(x, axis=1))
    for margin, logit in zip(margins, z, strict=True):
        assert margin.prediction == (positive if logit > 0 else 1 - positive)
        assert margin.radius is not None
        assert abs(logit) / slope * (1 - 1e-4) <= margin.radius <= abs(logit) / slope
    if scale == 1:
        assert reference(data, x).argmax(1).tolist() == [margin.prediction for margin in margins]


NO_PAIRS: dict[str, list[Part]] = {
    "another threshold": [("Sub", "third p", "r"), ("Concat", "r p", "y", ALONG)],
    "half of it": [("Mul", "p half", "h2"), ("Concat", "q h2", "y", ALONG)],
    "of two": [("MatMul", "x v", "z2"), ("Sigmoid", "z2", "p2"), ("Concat", "p2 p", "y", ALONG)],
    "no probability": [("Sub", "one z", "r"), ("Concat", "r z", "y", ALONG)],
    "three": [("Concat", "q p p", "y", ALONG)],
}


@pytest.mark.parametrize("pair", NO_PAIRS)
def test_what_is_no_complement_stays(pair: str) -> None:
    graph = read_onnx(ending_in(*PROBABILITY, *NO_PAIRS[pair]))
    assert undecorated(graph) is graph


SPELLED: dict[str, tuple[Part, ...]] = {
    "logistic": (("Neg", "z", "n"), ("Exp", "n", "e"), ("Add", "e one", "d"), ("Div", "one d")),
    "tanh": (("Tanh", "z", "t"), ("Mul", "t half", "m"), ("Add", "m half")),
    "hard": (("HardSigmoid", "z"),),
    "half of a sigmoid": (("Sigmoid", "z", "p"), ("Mul", "p half")),
}


@pytest.mark.parametrize("spelled", SPELLED)
def test_a_probability_spelled_out_is_no_logit_of_a_binary_classifier(spelled: str) -> None:
    """It would be of class 1 everywhere; whoever reads the file says so."""
    data = ending_in(("MatMul", "x v", "z"), *SPELLED[spelled])
    with pytest.raises(UnsupportedModel, match=r"as probabilities do.*Export the logit"):
        read_onnx(data, task="binary")


LOGITS_STILL: dict[str, tuple[Part, ...]] = {
    "relu": (("Relu", "z"),),
    "tanh": (("Tanh", "z"),),
    "two sigmoids, less one": (("Sigmoid", "z", "p"), ("Mul", "p two", "t"), ("Sub", "t one")),
    "a product of two": (("MatMul", "x v", "w2"), ("Mul", "w2 z")),
}


@pytest.mark.parametrize("end", LOGITS_STILL)
def test_what_falls_below_0_somewhere_is_a_logit(end: str) -> None:
    assert read_onnx(ending_in(("MatMul", "x v", "z"), *LOGITS_STILL[end]), task="binary").num_classes == 2
