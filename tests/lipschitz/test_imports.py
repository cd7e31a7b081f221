"""The library's bounds need torch, numpy and SciPy alone."""

import subprocess
import sys

PROGRAM = """
import sys
for name in ("onnx", "onnxscript", "pydantic", "typer", "rich", "httpx"):
    sys.modules[name] = None  # importing it fails
import radii.lipschitz
print(radii.lipschitz.matrix_norm([[3.0, 0.0], [0.0, 4.0]]).upper)
"""


def test_import_needs_no_reader_and_no_service():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert 4 <= float(done.stdout) <= 4.00001
