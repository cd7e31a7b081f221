#!/usr/bin/env bash
# tf2onnx 1.17.0: of tensors that a tf.function captures (a tf.constant made outside of it, say, which nobody thinks of
# as an argument) convert.from_function makes inputs of the file, without a word. So a network whose weights are such
# tensors is a file with one input for each of them, and none of the weights in it. Of NumPy arrays it makes constants.
#
# Seen on 2026-11-30 (Python 3.11): the lines at the end.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export ORT_DISABLE_TELEMETRY=1
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check tensorflow-cpu==2.21.0 tf2onnx==1.17.0 onnx==1.23.2 numpy==2.4.6

seen=$(venv/bin/python -W ignore 2>log - <<'PYTHON'
import os

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
import numpy as np
import tensorflow as tf
import tf2onnx

array = np.ones((6, 3), np.float32)
for weight in (tf.constant(array), array):

    @tf.function(input_signature=[tf.TensorSpec([None, 6], tf.float32, name="x")])
    def network(x):
        return x @ weight

    model, _ = tf2onnx.convert.from_function(network, input_signature=network.input_signature, opset=18)
    print(len(model.graph.input), "inputs,", len(model.graph.initializer), "constants")
PYTHON
) || { cat log; exit 1; }
echo "$seen"
[ "$seen" = "2 inputs, 0 constants
1 inputs, 1 constants" ] || { echo "this has changed"; exit 1; }
