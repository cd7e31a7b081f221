#!/usr/bin/env bash
# onnxruntime 1.31.1 on x86-64: what quantize_static writes with signed activations (QuantType.QInt8) runs as integer
# kernels only in part. Its optimiser makes unsigned integers of signed ones, which its kernels want, but not where two
# nodes read them, as around a residual: the convolutions before and behind such an activation, and the Add, stay floats.
# With unsigned activations (QuantType.QUInt8) the same network has integer kernels throughout.
#
# Seen on 2026-11-30 (Python 3.11): nodes of the optimised graph (ORT_ENABLE_ALL) of Conv, Relu, Conv, Conv + residual
#   QUInt8                              QLinearConv 3, QLinearAdd 1, Conv 0, Add 0
#   QInt8                               QLinearConv 1, QLinearAdd 0, Conv 2, Add 1
set -euo pipefail
[ "$(uname -m)" = x86_64 ] || { echo "this is about x86-64"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
cat > show.py <<'PYTHON'
import collections, logging, sys
import numpy as np, onnx, onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

logging.disable(logging.WARNING)
rng = np.random.default_rng(0)
node, value = helper.make_node, helper.make_tensor_value_info
weights = {f"w{i}": rng.normal(size=(4, 1 if i == 1 else 4, 3, 3)).astype(np.float32) for i in (1, 2, 3)}
nodes = [node("Conv", ["x", "w1"], ["a"], pads=[1] * 4), node("Relu", ["a"], ["r"]),
         node("Conv", ["r", "w2"], ["b"], pads=[1] * 4), node("Conv", ["b", "w3"], ["c"], pads=[1] * 4),
         node("Add", ["c", "r"], ["y"])]
graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, [1, 1, 8, 8])],
                          [value("y", TensorProto.FLOAT, [1, 4, 8, 8])],
                          [numpy_helper.from_array(array, name) for name, array in weights.items()])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9), "float.onnx")


class Reader(CalibrationDataReader):
    left = iter(rng.normal(size=(8, 1, 1, 8, 8)).astype(np.float32))

    def get_next(self):
        row = next(self.left, None)
        return None if row is None else {"x": row}


kind = QuantType[sys.argv[1]]
quantize_static("float.onnx", "made.onnx", Reader(), quant_format=QuantFormat.QDQ, activation_type=kind,
                weight_type=QuantType.QInt8)
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
options.optimized_model_filepath = "optimised.onnx"
onnxruntime.InferenceSession("made.onnx", options, providers=["CPUExecutionProvider"])
count = collections.Counter(item.op_type for item in onnx.load("optimised.onnx").graph.node)
print(", ".join(f"{name} {count[name]}" for name in ("QLinearConv", "QLinearAdd", "Conv", "Add")))
PYTHON

expect() {  # KIND WANTED
    seen=$(ORT_DISABLE_TELEMETRY=1 venv/bin/python show.py "$1")
    printf '%-35s %s\n' "$1" "$seen"
    [ "$seen" = "$2" ] || { echo "this has changed: $1"; exit 1; }
}

expect QUInt8 "QLinearConv 3, QLinearAdd 1, Conv 0, Add 0"
expect QInt8 "QLinearConv 1, QLinearAdd 0, Conv 2, Add 1"
