#!/usr/bin/env bash
# PyHessian 0.1 (with torch 2.13.0): eigenvalues() stops when two estimates differ by less than `tol` relative to
# |estimate| + 1e-6. So what it says of a loss times c is not c times what it says of the loss: where curvature is small
# beside 1e-6 the first two estimates count as equal, and the largest eigenvalue is that of two steps of power iteration
# from a random start, without a warning. Losses that are divided by their number of pixels or tokens, flat
# minima, and weights that were scaled up have such curvature. Here the Hessian is c diag(0.02, 0.04, ..., 1).
#
# Seen on 2026-11-30 (Python 3.11): the lines at the end.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check torch==2.13.0 numpy==2.4.6
venv/bin/python -m pip install -q --disable-pip-version-check --no-deps PyHessian==0.1

seen=$(OMP_NUM_THREADS=1 venv/bin/python -W ignore 2>log - <<'PYTHON'
import torch
from pyhessian import hessian
from torch import nn

for c in (1.0, 1e-6, 1e-8, 1e-10):
    torch.manual_seed(0)
    network, x = nn.Linear(50, 1, bias=False), torch.diag(torch.linspace(0.02, 1.0, 50).sqrt())
    made = hessian(network, lambda y, _, c=c: c / 2 * y.square().sum(), data=(x, x), cuda=False)
    [found], _ = made.eigenvalues()
    print(f"largest eigenvalue {c:.0e}: {found / c:.2f} of it found")
PYTHON
) || { cat log; exit 1; }
echo "$seen"
[ "$seen" = "largest eigenvalue 1e+00: 0.98 of it found
largest eigenvalue 1e-06: 0.97 of it found
largest eigenvalue 1e-08: 0.74 of it found
largest eigenvalue 1e-10: 0.42 of it found" ] || { echo "this has changed"; exit 1; }
