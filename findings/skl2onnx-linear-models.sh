#!/usr/bin/env bash
# skl2onnx 1.20.0: a LogisticRegression names the default domain twice in opset_import, which onnx and onnxruntime both
# take, though a reader that expects one entry a domain breaks on it. black_op, which asks for plain operators instead
# of those of ai.onnx.ml, works for LogisticRegression and raises an error for LinearSVC, which speaks of double numbers
# where all of them are single: there is no way around LinearClassifier for it.
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
import onnx
import onnxruntime
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

x = np.random.default_rng(0).random((60, 4)).astype(np.float32)
y = np.arange(60) % 3
file = to_onnx(LogisticRegression().fit(x, y), x[:1], options={"zipmap": False})
print([(entry.domain, entry.version) for entry in file.opset_import])
onnx.checker.check_model(file)
onnxruntime.InferenceSession(file.SerializeToString())
for model in (LogisticRegression(), LinearSVC(random_state=0)):
    try:
        file = to_onnx(model.fit(x, y), x[:1], black_op={"LinearClassifier", "Normalizer"})
        print(type(model).__name__, {node.domain for node in file.graph.node} & {""} == {""})
    except NotImplementedError as error:
        print(type(model).__name__, error)
PYTHON
) || { cat log; exit 1; }
echo "$seen"
[ "$seen" = "[('ai.onnx.ml', 1), ('', 22), ('', 22)]
LogisticRegression True
LinearSVC post_transform 'NONE' is not supported with double." ] || { echo "this has changed"; exit 1; }
