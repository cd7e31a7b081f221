#!/usr/bin/env bash
# torch 2.13.0: torch.onnx.export, as it is, writes a second file for the weights, however few there are: those over 256
# bytes are in it, so that the .onnx file alone does not load elsewhere; where none is, it is there and empty. Of a
# network in training mode the same exporter folds batch norm away, by its running statistics, as in evaluation mode, but
# keeps a Dropout that drops: half of the mode is in the file, and two runs of the same input differ. The older exporter
# (dynamo=False) takes evaluation mode for both by itself.
#
# Seen on 2026-11-30 (Python 3.11): the lines at the end.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export ORT_DISABLE_TELEMETRY=1
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.31.1 numpy==2.4.6

seen=$(venv/bin/python -W ignore 2>log - <<'PYTHON'
import os

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

torch.manual_seed(0)
for size in (6, 16):
    torch.onnx.export(nn.Linear(size, size, bias=False).eval(), (torch.zeros(1, size),), f"{size}.onnx", verbose=False)
    print(f"weights of {4 * size**2} bytes:", os.path.getsize(f"{size}.onnx.data"), "in the second file")
network = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.Dropout(0.5)).train()
x = torch.ones(1, 1, 32)
for dynamo in (True, False):
    torch.onnx.export(network, (x,), "made.onnx", dynamo=dynamo, verbose=False)
    session = onnxruntime.InferenceSession("made.onnx")
    runs = [session.run(None, {session.get_inputs()[0].name: x.numpy()})[0] for _ in range(2)]
    nodes = [node.op_type for node in onnx.load("made.onnx").graph.node if node.op_type != "Constant"]
    print(f"dynamo={dynamo}:", *nodes, "same" if np.array_equal(*runs) else "differ")
PYTHON
) || { cat log; exit 1; }
echo "$seen"
[ "$seen" = "weights of 144 bytes: 0 in the second file
weights of 1024 bytes: 1024 in the second file
dynamo=True: Conv Dropout differ
dynamo=False: Conv same" ] || { echo "this has changed"; exit 1; }
