#!/usr/bin/env bash
# jax2onnx 0.17.1: a max pooling of (batch, height, width, channels) by jax.lax.reduce_window, which is also what Keras's
# MaxPooling2D is by jax, becomes a MaxPool over all four axes of an input with two axes put in front. That is
# valid ONNX, and onnxruntime 1.31.1 loads it; as it runs, it says that it has no such pooling. A maximum over a reshaped
# input says the same and runs.
#
# Seen on 2026-11-30 (Python 3.11): the lines at the end.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export ORT_DISABLE_TELEMETRY=1
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check jax==0.10.2 jax2onnx==0.17.1 onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6

seen=$(venv/bin/python -W ignore 2>log - <<'PYTHON'
import jax
import numpy as np
import onnx
import onnxruntime
from jax2onnx import to_onnx


def pooled(x):
    return jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def reshaped(x):
    return x.reshape(x.shape[0], 2, 2, 2, 2, 3).max((2, 4))


x = np.random.default_rng(0).random((5, 4, 4, 3)).astype(np.float32)
for function in (pooled, reshaped):
    model = to_onnx(function, [("B", 4, 4, 3)])
    onnx.checker.check_model(model)
    kernels = [list(entry.ints) for node in model.graph.node for entry in node.attribute if entry.name == "kernel_shape"]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    try:
        made = session.run(None, {session.get_inputs()[0].name: x})[0]
        print(function.__name__, kernels, np.array_equal(made, pooled(x)))
    except Exception as error:
        print(function.__name__, kernels, str(error).rpartition("Status Message: ")[2])
PYTHON
) || { cat log; exit 1; }
echo "$seen"
[ "$seen" = "pooled [[1, 2, 2, 1]] Unsupported pooling size.
reshaped [] True" ] || { echo "this has changed"; exit 1; }
