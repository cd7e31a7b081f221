"""radii: how far can an input move before the model's answer may change?

The library. It imports nothing of the service, does no I/O on import, and each of its parts can be used alone:
``radii.graph`` (ONNX to a checked graph to a torch module), ``radii.lipschitz`` (deterministic bounds),
``radii.smoothing`` (randomized smoothing), ``radii.attacks`` (what tries to break a certificate), ``radii.layers`` and
``radii.training`` (what is trained to be certified), and ``radii.diagnostics`` (curvature, drift and frequencies).
"""

__version__ = "0.1.0"
