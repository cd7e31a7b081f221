"""`radii verify-instance`: a network and a property of VNN-COMP, answered as that counts."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from radii.cli import network
from radii.cli.console import fail

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

AGREES = 1e-4  # of the largest output: how far onnxruntime, in float32, may be from the graph


def command(file: Path, instance: Path, *, budget: int, external_data: list[Path], output: str | None) -> None:
    """Print ``unsat``, ``sat`` with a counterexample in the form of VNN-COMP, or ``unknown``."""
    with network.obstacles_told(file, verdict="verified", as_json=False):
        import numpy as np
        import torch

        from radii.graph import to_module
        from radii.local.instance import verify
        from radii.local.vnnlib import MOST_BYTES, NotReadable, read_property

        if instance.stat().st_size > MOST_BYTES:
            fail(f"{instance.name} has more than {MOST_BYTES} bytes", code=2)
        try:
            prop = read_property(instance.read_bytes())
        except NotReadable as error:
            fail(f"{instance.name}, {error}", code=2)
        graph = network.read(file, external_data, output=output, architecture=None, shape=None)
        served = _Served(file, output)
        middle = np.full(graph.input_shape, 0.5, np.float32)
        expected, found = to_module(graph)(torch.from_numpy(middle[None]))[0].numpy(), served(middle.reshape(-1))
        if found.shape != expected.shape or not np.abs(found - expected).max() <= AGREES * np.abs(found).max():
            fail("a property is of the outputs of the file, some of which are left out when it is read", code=2)
        try:
            verdict = verify(graph, prop, served, budget=budget)
        except ValueError as error:
            fail(f"{instance.name}: {error}", code=2)
    print(verdict.status)
    if verdict.x is not None and verdict.y is not None:
        values = [("X", i, v) for i, v in enumerate(verdict.x.tolist())]
        values += [("Y", i, v) for i, v in enumerate(verdict.y.tolist())]
        print("(" + "\n".join(f"({letter}_{i} {value!r})" for letter, i, value in values) + ")")


class _Served:
    """The outputs of onnxruntime, of one input without any batch."""

    def __init__(self, file: Path, output: str | None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        [self.input] = self.session.get_inputs()
        self.output = output or self.session.get_outputs()[0].name

    def __call__(self, x: "npt.NDArray[np.float32]") -> "npt.NDArray[np.float64]":
        shape = [size if isinstance(size, int) else 1 for size in self.input.shape]
        made: Any = self.session.run([self.output], {self.input.name: x.reshape(shape)})[0]
        found: npt.NDArray[np.float64] = made.reshape(-1).astype("float64")
        return found
