#!/usr/bin/env bash
# jax 0.10.2 and jax2onnx 0.17.1: jnp.var, and so every layer norm written with it, guards a division by (n - ddof) with a
# choice whose other branch is NaN. jax2onnx writes the guard out though n is known: the file of a sound network holds a
# constant that is not a number, in a branch that is never taken. Who scans files for NaN weights finds one.
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
import jax.numpy as jnp
import numpy as np
import onnxruntime
from jax2onnx import to_onnx
from onnx import numpy_helper

model = to_onnx(lambda x: jnp.var(x, axis=1), [("B", 6)])
tensors = [*model.graph.initializer, *(entry.t for node in model.graph.node for entry in node.attribute if entry.name == "value")]
arrays = [numpy_helper.to_array(tensor) for tensor in tensors]
count = sum(bool(np.isnan(array).any()) for array in arrays if array.dtype.kind == "f")
x = np.random.default_rng(0).random((5, 6)).astype(np.float32)
session = onnxruntime.InferenceSession(model.SerializeToString())
made = session.run(None, {session.get_inputs()[0].name: x})[0]
print("constants that are NaN:", count)
print("Where" in {node.op_type for node in model.graph.node}, np.allclose(made, x.var(axis=1)))
PYTHON
) || { cat log; exit 1; }
echo "$seen"
[ "$seen" = "constants that are NaN: 1
True True" ] || { echo "this has changed"; exit 1; }
