#!/usr/bin/env bash
# onnxruntime 1.31.1: a quantised AveragePool (QDQ, as quantize_static writes it, with one scale and zero point before and
# behind) gives other numbers with optimisations (the default: one integer kernel) than without (DequantizeLinear,
# AveragePool, QuantizeLinear, as the file says). A mean of four steps lies halfway between two in a quarter of all cases;
# the kernel adds the zero point before it rounds halves to even, QuantizeLinear afterwards, so with an odd zero point
# they go to the other neighbour. The quantised Softmax takes floor(1 / scale) for the number of steps from 0 to 1: with the
# scale 1/255 in float32 that is 254 or 255 as the quotient rounds, and with 0.0045, 222.2 steps, it is 222.
#
# Seen on 2026-11-30 (Python 3.11): entries that differ, by one step
#   AveragePool, zero point 4           0.0 %
#   AveragePool, zero point 5           24.8 %
#   Softmax, scale 0.0045               1.4 %
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
cat > show.py <<'PYTHON'
import sys
import numpy as np, onnxruntime
from onnx import TensorProto, helper, numpy_helper

operator, zero, low, high = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
first, last = np.float32(2.0**-6), np.float32(0.0045 if operator == "Softmax" else 2.0**-6)
constants = {"s": first, "z": np.uint8(128 if operator == "Softmax" else zero), "t": last, "o": np.uint8(zero)}
settings = {"axis": -1} if operator == "Softmax" else {"kernel_shape": [2, 2], "strides": [2, 2]}
node, value = helper.make_node, helper.make_tensor_value_info
nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["f"]),
         node(operator, ["f"], ["m"], **settings),
         node("QuantizeLinear", ["m", "t", "o"], ["p"]), node("DequantizeLinear", ["p", "t", "o"], ["y"])]
graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, [8, 4, 16, 16])],
                          [value("y", TensorProto.FLOAT, None)],
                          [numpy_helper.from_array(np.array(array), name) for name, array in constants.items()])
data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9).SerializeToString()
x = (np.random.default_rng(0).integers(0, 256, (8, 4, 16, 16)) - int(constants["z"])).astype(np.float32) * first
answers = []
for level in ("ORT_ENABLE_ALL", "ORT_DISABLE_ALL"):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    answers.append(session.run(None, {"x": x})[0])
share = 100 * np.mean(np.abs(answers[0] - answers[1]) > last / 2)
print(f"{operator}, zero point {zero}: {share:.1f} %")
sys.exit(not low <= share <= high)
PYTHON

export ORT_DISABLE_TELEMETRY=1
venv/bin/python show.py AveragePool 4 0 0 || { echo "this has changed"; exit 1; }
venv/bin/python show.py AveragePool 5 15 30 || { echo "this has changed"; exit 1; }
venv/bin/python show.py Softmax 0 1 100 || { echo "this has changed"; exit 1; }
