#!/usr/bin/env bash
# Writes the files of this folder anew: small networks by the exporters, converters and optimisers of docs/exporters.md, of
# the versions named here, each with what onnxruntime makes of four inputs. A few minutes; the tools stay in a temporary
# folder. Weights are seeded, so what changes in a file is what its tool changed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export ORT_DISABLE_TELEMETRY=1 TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=
installed() {  # FOLDER PACKAGE...
    python3 -m venv "$1"
    "$1/bin/python" -m pip install -q --disable-pip-version-check "${@:2}"
}
installed tools torch==2.13.0 onnxscript==0.7.2 onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6 scikit-learn==1.9.1 \
    skl2onnx==1.20.0 keras==3.15.1 jax==0.10.2 jax2onnx==0.17.1 tensorflow-cpu==2.21.0 tf2onnx==1.17.0 \
    onnxslim==0.1.98 onnxsim==0.8.1 onnxconverter-common==1.16.0
installed paddle paddlepaddle==3.3.1 paddle2onnx==2.1.0 onnxruntime==1.31.1
for tool in torch sklearn jax tensorflow optimisers quantisers; do tools/bin/python "$here/make.py" "$tool"; done
for backend in torch jax tensorflow; do KERAS_BACKEND=$backend tools/bin/python "$here/make.py" keras; done
paddle/bin/python "$here/make.py" paddle
