#!/usr/bin/env bash
# torch 2.13.0: torch.onnx.export, as it is, writes the weights into a second file however small they are (144 bytes here):
# the .onnx file alone does not load elsewhere. Of a network in training mode the same exporter folds batch norm away, by
# its running statistics, as in evaluation mode, but keeps a Dropout that drops: half of the mode is in the file, and two
# runs of the same input differ. The older exporter (dynamo=False) takes evaluation mode for both by itself.
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
torch.onnx.export(nn.Linear(6, 6, bias=False).eval(), (torch.zeros(1, 6),), "small.onnx", verbose=False)
print("weights in", *sorted(name for name in os.listdir() if name.startswith("small")), os.path.getsize("small.onnx.data"))
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
[ "$seen" = "weights in small.onnx small.onnx.data 144
dynamo=True: Conv Dropout differ
dynamo=False: Conv same" ] || { echo "this has changed"; exit 1; }
