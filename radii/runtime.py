"""onnxruntime, which on Linux keeps a database of its use in the home folder and reports it to its maker, unless its
environment says no before it is imported (`disable_telemetry_events` comes too late). So it is imported from here:

    from radii.runtime import onnxruntime
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

__all__ = ["onnxruntime"]
