"""Reads a model from a stranger: bytes to a checked graph, which runs, keeps the samples of a batch apart, and, where
the bytes are ONNX, makes the outputs that onnxruntime makes of them."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto, TensorProto

from models.problems import Problem
from radii.graph import Graph, UnsupportedModel, check_batch_independence, methods, normalized, to_module
from radii.graph.difference import difference
from radii.graph.network import is_canonical
from radii.local import verdict
from radii.runtime import onnxruntime
from radii.shapes import rearrangement
from workers.intake.limits import met
from workers.intake.rejected import Json, Rejected
from workers.messages import NetworkFiles
from workers.network import external_data, read_graph

Floats = npt.NDArray[np.floating[Any]]

SAMPLES = 8
TOLERANCE = 1e-4  # of an output; float32 in another order of summation stays below 1e-5
SHARE = 0.1  # of the largest output, for one that is smaller: its error may be what rounding left of larger numbers
# Of the largest output, where onnxruntime rounds every activation to the 11 bits of float16, and radii does not:
# networks of 1 to 34 layers stay below 2e-3 of it.
HALF_TOLERANCE, HALF_SHARE = 1e-2, 1.0
# A quantised network is a function of steps: at the edge between two, another rounding makes another step, and others
# in the layers behind it. So most samples must agree as floats do, the others but for a few steps, of their largest
# output: between onnxruntime's own kernels, of floats and of integers, it is up to 0.031; a step of 8 bits is 0.008.
STEPS_TOLERANCE = 0.05
# What versions after 10 of ONNX's container add, radii refuses or does not read (types of two to eight bits, notes for
# several devices). Each onnxruntime reads those up to its day: it is given files as of this one.
IR_VERSION = 10
TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


def read_model(order: Json) -> Json:
    """The summary of the model that the order names. Raises ``Rejected``."""
    settings = order["settings"]
    declared = settings["input"]
    torch.set_num_threads(1)
    try:
        graph = read_graph(_files(order))
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
        checked = _compare(order, x, logits)
    task = settings.get("task", "classifier")
    return {
        "task": task,
        "digest": graph.digest,
        "input_shape": list(graph.input_shape),
        "num_classes": graph.num_classes if task in ("classifier", "binary") else None,
        "num_outputs": graph.num_classes if task == "regressor" else None,
        "graph": graph.summary(),
        "methods": [*methods(graph, task), verdict(graph, task)],
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
        line, takes = rearrangement(shape, graph.input_shape), list(graph.input_shape)
        raise unsupported(
            f"the model takes inputs of shape {takes}, declared was {list(shape)}",
            f"Register it with input.shape = {takes}, "
            + (f"and give it inputs of that shape; with NumPy: {line}" if line else f"or export it for {list(shape)}"),
        )
    labels = settings["labels"]
    if labels is not None and len(labels) != graph.num_classes:
        raise unsupported(
            f"the model has {graph.num_classes} classes, but {len(labels)} labels were given",
            f"Give {graph.num_classes} labels, in the order of the model's outputs, or none",
        )


def _files(order: Json) -> NetworkFiles:
    return NetworkFiles(order["settings"], order["file"], order["external_data"])


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


def _compare(order: Json, x: Floats, ours: Floats) -> Json:
    """The largest difference from onnxruntime's outputs, relative to the output. Raises ``Rejected``."""
    settings, data = order["settings"], Path(order["file"]).read_bytes()
    model = ModelProto.FromString(data)
    half, quantised = _in_float16(model), any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    dims = (dim for value in model.graph.input for dim in value.type.tensor_type.shape.dim)
    zeros = [dim for dim in dims if dim.HasField("dim_value") and dim.dim_value == 0]
    if zeros:  # open axes, as some converters write them; onnxruntime takes the number as it stands
        for dim in zeros:
            dim.ClearField("dim_value")
        data = model.SerializeToString()
    if model.ir_version > IR_VERSION:
        data += ModelProto(ir_version=IR_VERSION).SerializeToString()  # of a field given twice the last one counts
    del model
    declared = settings["input"]
    channels = (-1, *[1] * (x.ndim - 2))
    mean, std = (np.asarray(declared[key], np.float32).reshape(channels) for key in ("mean", "std"))
    given = (data, external_data(_files(order)), settings["output"], (x - mean) / std)
    alone, together = _onnxruntime(*given, integers=quantised)
    if settings.get("task") != "denoiser":  # logits and a regressor's outputs are taken flat
        alone, together = (_flat(outputs, len(x)) for outputs in (alone, together))
    tolerance, share = (HALF_TOLERANCE, HALF_SHARE) if half else (TOLERANCE, SHARE)
    agree = _agree_in_steps if quantised else _agree
    if not agree(together, alone, tolerance, share):
        raise _mixed()
    shown = [ours]
    if settings.get("task") == "binary":  # radii's logits are (0, z), the file's output is z or its sigmoid
        with np.errstate(over="ignore"):  # where the sigmoid is 0
            shown = [ours[:, 1:], 1 / (1 + np.exp(-ours[:, 1:]))]
    if alone.shape != shown[0].shape:
        raise unsupported(f"onnxruntime makes outputs of shape {alone.shape} of it, radii {shown[0].shape}", REPORT)
    gap = min(_gap(made, alone, share) for made in shown)
    if not any(agree(made, alone, tolerance, share) for made in shown):
        if half:
            raise unsupported(
                f"the file computes in float16, where its outputs differ by {gap:.1e} of the largest from those in "
                f"float32, over {tolerance}: that is another network",
                "Export it in float32: model.float()",
            )
        raise unsupported(f"onnxruntime's outputs differ by {gap:.1e} of themselves, over {tolerance}", REPORT)
    against = f"onnxruntime {onnxruntime.__version__}" + (", which computes it in float16" if half else "")
    return {"against": against, "max_relative_difference": gap}


def _in_float16(model: Any) -> bool:
    """Whether onnxruntime rounds activations to float16."""
    if any(value.type.tensor_type.elem_type == TensorProto.FLOAT16 for value in model.graph.input):
        return True
    casts = (entry for node in model.graph.node if node.op_type == "Cast" for entry in node.attribute)
    return any(entry.name == "to" and entry.i == TensorProto.FLOAT16 for entry in casts)


def _flat(outputs: Floats, rows: int) -> Floats:
    return outputs if outputs.size % rows else outputs.reshape(rows, -1)


def _gap(found: Floats, expected: Floats, share: float) -> float:
    return difference(torch.from_numpy(found), torch.from_numpy(expected.astype(found.dtype)), share=share)


def _agree(found: Floats, expected: Floats, tolerance: float, share: float) -> bool:
    return _gap(found, expected, share) <= tolerance


def _agree_in_steps(found: Floats, expected: Floats, tolerance: float, share: float) -> bool:
    """Whether more than half of the rows do, and the others but for a few steps of their largest output."""
    if found.shape != expected.shape:
        return False
    gaps = sorted(_gap(*row, 1.0) for row in zip(found[:, None], expected[:, None], strict=True))
    return gaps[len(gaps) // 2] <= tolerance and gaps[-1] <= STEPS_TOLERANCE


REPORT = "Check it in onnxruntime; if it runs well there, please report it to radii with the file"


def _onnxruntime(
    data: bytes, external: dict[str, bytes], output: str | None, x: Floats, *, integers: bool = False
) -> tuple[Floats, Floats]:
    """The outputs by onnxruntime, one thread, without optimisations: some of those change the function.

    ``integers``: with those that make integer kernels of a quantised network, whose sums are then exact on every
    processor.

    Of each input alone, and of all at once where the file's batch is open; where it is fixed, or there is none, the
    same again.
    """
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if integers else levels.ORT_DISABLE_ALL
    options.add_session_config_entry("session.x64quantprecision", "1")  # no sums that saturate at 16 bits
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if external:
        names, buffers = list(external), list(external.values())
        options.add_external_initializers_from_files_in_memory(names, buffers, list(map(len, buffers)))
    try:
        session = onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"], disabled_optimizers=["Pad_Fusion"]
        )
        source = session.get_inputs()[0]
        name = output or session.get_outputs()[0].name
        with np.errstate(over="ignore"):  # what is too large for the file's type makes another output
            x = x.astype(TYPES[source.type])
        whole = len(source.shape) == x.ndim - 1  # there is no batch axis
        rows = [np.atleast_2d(session.run([name], {source.name: row if whole else row[None]})[0]) for row in x]
        alone = np.concatenate(rows)  # a file that drops the batch makes (classes,) of a row
        fixed = whole or any(isinstance(size, int) for size in source.shape[:1])
        return alone, alone if fixed else session.run([name], {source.name: x})[0]
    except Exception as error:  # onnxruntime's exceptions have no base of their own
        if met(error):
            raise
        raise unsupported(
            f"onnxruntime can't run it: {_shortened(str(error))}", "Export it again, for opset 24 or below"
        ) from None


def _shortened(message: str) -> str:
    """How it begins, and how it ends: onnxruntime names a line of its source first, and the reason last."""
    return message if len(message) <= 500 else f"{message[:100]} ... {message[-400:]}"
