"""Reads a model from a stranger: bytes to a checked graph, which runs, keeps the samples of a batch apart, and, where
the bytes are ONNX, makes the outputs that onnxruntime makes of them."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from models.problems import Problem
from radii.graph import Graph, UnsupportedModel, check_batch_independence, methods, normalized, to_module
from radii.graph.difference import difference
from radii.graph.network import is_canonical
from workers.network import external_data, read_graph
from workers.rejected import Json, Rejected

Floats = npt.NDArray[np.floating[Any]]

SAMPLES = 8
TOLERANCE = 1e-4  # of an output; float32 in another order of summation stays below 1e-5
SHARE = 0.1  # of the largest output, for one that is smaller: its error may be what rounding left of larger numbers
TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


def read_model(order: Json) -> Json:
    """The summary of the model that the order names. Raises ``Rejected``."""
    settings = order["settings"]
    declared = settings["input"]
    torch.set_num_threads(1)
    try:
        graph = read_graph(order)
    except UnsupportedModel as error:
        obstacles = [
            {"node": o.node, "operator": o.operator, "reason": o.reason, "remedy": o.remedy} for o in error.obstacles
        ]
        raise Rejected(Problem.UNSUPPORTED_MODEL, f"{error.obstacles[0]}", obstacles=obstacles) from None
    _check_declared(graph, settings)
    try:
        graph = normalized(graph, declared["mean"], declared["std"])
    except ValueError as error:
        raise unsupported(str(error), "Correct input.mean and input.std") from None
    x, logits = _run(graph, settings)
    checked: Json = {"against": "batch independence and finite outputs", "max_relative_difference": None}
    if is_onnx(order):
        checked = {
            "against": f"onnxruntime {onnxruntime.__version__}",
            "max_relative_difference": _compare(order, x, logits),
        }
    task = settings.get("task", "classifier")
    return {
        "task": task,
        "digest": graph.digest,
        "input_shape": list(graph.input_shape),
        "num_classes": graph.num_classes if task == "classifier" else None,
        "num_outputs": graph.num_classes if task == "regressor" else None,
        "graph": graph.summary(),
        "methods": methods(graph, task),
        "checked": {**checked, "inputs": SAMPLES},
    }


def unsupported(reason: str, remedy: str) -> Rejected:
    """The model as a whole can't be certified."""
    obstacle = {"node": None, "operator": "", "reason": reason, "remedy": remedy}
    return Rejected(Problem.UNSUPPORTED_MODEL, f"{reason}. {remedy}.", obstacles=[obstacle])


def _mixed() -> Rejected:
    return unsupported(
        "an input's outputs depend on the other inputs of its batch", "Export it in evaluation mode: model.eval()"
    )


def _check_declared(graph: Graph, settings: Json) -> None:
    """What was declared of the model is true of it."""
    shape = tuple(settings["input"]["shape"])
    if shape != graph.input_shape:
        raise unsupported(
            f"the model takes inputs of shape {list(graph.input_shape)}, declared was {list(shape)}",
            f"Register it with input.shape = {list(graph.input_shape)}, or export it for {list(shape)}",
        )
    labels = settings["labels"]
    if labels is not None and len(labels) != graph.num_classes:
        raise unsupported(
            f"the model has {graph.num_classes} classes, but {len(labels)} labels were given",
            f"Give {graph.num_classes} labels, in the order of the model's outputs, or none",
        )


def is_onnx(order: Json) -> bool:
    """Whether there is another program to ask: onnxruntime reads ONNX alone."""
    with Path(order["file"]).open("rb") as file:
        return not order["settings"].get("architecture") and not is_canonical(file.read(64))


def _run(graph: Graph, settings: Json) -> tuple[Floats, Floats]:
    """Inputs of the declared range, and what it makes of them. Raises ``Rejected`` where those can't be certified."""
    low, high = settings["input"]["range"]
    rng = np.random.default_rng(0)
    x = rng.uniform(low, high, (SAMPLES, *graph.input_shape)).astype(np.float32)
    module = to_module(graph)
    with torch.inference_mode():
        ours = module(torch.from_numpy(x)).numpy()
    if not np.isfinite(ours).all():
        raise unsupported(
            f"the model's outputs are not finite on inputs drawn from [{low}, {high}]",
            "Look for NaN or infinity in its weights, and for divisions by zero; check input.range, mean and std",
        )
    if not check_batch_independence(module, graph.input_shape):
        raise _mixed()
    return x, ours


def _compare(order: Json, x: Floats, ours: Floats) -> float:
    """The largest difference from onnxruntime's outputs, relative to the output. Raises ``Rejected``."""
    settings, data = order["settings"], Path(order["file"]).read_bytes()
    declared = settings["input"]
    channels = (-1, *[1] * (x.ndim - 2))
    mean, std = (np.asarray(declared[key], np.float32).reshape(channels) for key in ("mean", "std"))
    alone, together = _onnxruntime(data, external_data(order), settings["output"], (x - mean) / std)
    if settings.get("task") == "regressor":  # whose outputs are taken flat
        alone, together = (_flat(outputs, len(x)) for outputs in (alone, together))
    if not _gap(together, alone) <= TOLERANCE:
        raise _mixed()
    if alone.shape != ours.shape:
        raise unsupported(f"onnxruntime makes outputs of shape {alone.shape} of it, radii {ours.shape}", REPORT)
    gap = _gap(ours, alone)
    if not gap <= TOLERANCE:
        raise unsupported(f"onnxruntime's outputs differ by {gap:.1e} of themselves, over {TOLERANCE}", REPORT)
    return gap


def _flat(outputs: Floats, rows: int) -> Floats:
    return outputs if outputs.size % rows else outputs.reshape(rows, -1)


def _gap(found: Floats, expected: Floats) -> float:
    return difference(torch.from_numpy(found), torch.from_numpy(expected), share=SHARE)


REPORT = "Check it in onnxruntime; if it runs well there, please report it to radii with the file"


def _onnxruntime(data: bytes, external: dict[str, bytes], output: str | None, x: Floats) -> tuple[Floats, Floats]:
    """The outputs by onnxruntime, one thread, without optimisations: some of those change the function.

    Of each input alone, and of all at once where the file's batch is open; where it is fixed, the same again.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if external:
        names, buffers = list(external), list(external.values())
        options.add_external_initializers_from_files_in_memory(names, buffers, list(map(len, buffers)))
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        source = session.get_inputs()[0]
        name = output or session.get_outputs()[0].name
        x = x.astype(TYPES[source.type])
        rows = [np.atleast_2d(session.run([name], {source.name: row[None]})[0]) for row in x]
        alone = np.concatenate(rows)  # a file that drops the batch makes (classes,) of a row
        fixed = isinstance(source.shape[0], int)
        return alone, alone if fixed else session.run([name], {source.name: x})[0]
    except Exception as error:  # onnxruntime's exceptions have no base of their own
        raise unsupported(
            f"onnxruntime can't run it: {str(error)[:300]}", "Export it again, for opset 24 or below"
        ) from None
