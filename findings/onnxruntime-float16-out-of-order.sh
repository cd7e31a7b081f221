#!/usr/bin/env bash
# onnxruntime 1.31.1: convert_float_to_float16 of onnxruntime.transformers, with keep_io_types=True, appends the Cast of
# the input at the end of the node list, behind the nodes that read it. ONNX asks for topological order: onnx.checker
# refuses the file, while onnxruntime itself loads and runs it. OnnxModel.topological_sort(), of the same package, mends it.
#
# Seen on 2026-11-30 (Python 3.11): the lines at the end.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export ORT_DISABLE_TELEMETRY=1
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6

seen=$(venv/bin/python -W ignore 2>log - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name, size in (("x", 6), ("y", 3))]
weight = numpy_helper.from_array(np.eye(6, 3, dtype=np.float32), "w")
graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", values[:1], values[1:], [weight])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)
half = convert_float_to_float16(model, keep_io_types=True)
print([node.op_type + "(" + node.input[0] + ")" for node in half.graph.node])
for made in (half, None):
    if made is None:
        ordered = OnnxModel(half)
        ordered.topological_sort()
        made = ordered.model
    onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": np.ones((1, 6), np.float32)})
    try:
        onnx.checker.check_model(made)
        print("onnxruntime runs it, onnx takes it")
    except onnx.checker.ValidationError as error:
        print("onnxruntime runs it, onnx does not:", str(error).partition(",")[0])
PYTHON
) || { cat log; exit 1; }
echo "$seen"
[ "$seen" = "['MatMul(graph_input_cast_0)', 'Cast(x)', 'Cast(graph_output_cast_0)']
onnxruntime runs it, onnx does not: Nodes in a graph must be topologically sorted
onnxruntime runs it, onnx takes it" ] || { echo "this has changed"; exit 1; }
