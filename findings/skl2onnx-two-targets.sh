#!/usr/bin/env bash
# skl2onnx 1.20.0: an MLPRegressor with two targets becomes a file that answers n inputs with (2 n, 1) numbers, not with
# (n, 2): it ends in a Reshape to (-1, 1), as for one target. No error, no warning; predictions of a batch are interleaved.
#
# Seen on 2026-11-30 (Python 3.11): the lines at the end.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export ORT_DISABLE_TELEMETRY=1
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check skl2onnx==1.20.0 scikit-learn==1.9.1 onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6

seen=$(venv/bin/python -W ignore 2>log - <<'PYTHON'
import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from sklearn.neural_network import MLPRegressor

x = np.random.default_rng(0).random((50, 4)).astype(np.float32)
model = MLPRegressor(hidden_layer_sizes=(8,), max_iter=50, random_state=0).fit(x, x[:, :2])
file = to_onnx(model, x[:1]).SerializeToString()
made = onnxruntime.InferenceSession(file).run(None, {"X": x[:5]})[0]
print("scikit-learn", model.predict(x[:5]).shape)
print("onnxruntime", made.shape, np.allclose(made.reshape(5, 2), model.predict(x[:5]), atol=1e-5))
PYTHON
) || { cat log; exit 1; }
echo "$seen"
[ "$seen" = "scikit-learn (5, 2)
onnxruntime (10, 1) True" ] || { echo "this has changed"; exit 1; }
