"""One node of a file, as an operator's `read` sees it: checked attributes and known inputs, no protobuf."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from radii.graph.errors import Refusal
from radii.graph.limits import DEFAULTS, Limits

# The kinds an attribute may be declared with, and what they become:
#   int -> int, flag -> int (0 or 1), float -> float, string -> str, ints -> tuple[int, ...],
#   floats -> tuple[float, ...], tensor -> np.ndarray


@dataclass(frozen=True, slots=True)
class Activation:
    """A value that depends on the input: its id, and its shape a sample (axis 0, the batch, left out)."""

    id: str
    shape: tuple[int, ...]
    batch_in_shape: bool = False  # the file is read at a batch of its own, which is an axis of ``shape`` like any other

    @property
    def rank(self) -> int:
        """Its rank in the file: the batch counts."""
        return len(self.shape) + (not self.batch_in_shape)


Value = Activation | np.ndarray  # a constant: floats, integers, or integers affine in the batch (dtype object)


@dataclass(frozen=True, slots=True)
class Call:
    """A node: its operator, the file's opset, attributes of the declared kinds, inputs (None: left out)."""

    operator: str
    opset: int
    attributes: Mapping[str, Any]
    inputs: tuple[Value | None, ...]
    outputs: int = 1  # how many outputs it has, up to the last that has a name
    output: int = 0  # which of them is read
    limits: Limits = DEFAULTS

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or its default."""
        return self.attributes.get(name, default)

    def input(self, position: int) -> Value | None:
        """An input, None where it is left out."""
        return self.inputs[position] if position < len(self.inputs) else None

    def activation(self, position: int = 0) -> Activation:
        """An input that must be an activation."""
        value = self.input(position)
        if isinstance(value, Activation):
            return value
        raise Refusal(f"input {position} must depend on the model's input", "Export the model again")

    def activations(self) -> tuple[Activation, ...]:
        """The inputs that are activations."""
        return tuple(value for value in self.inputs if isinstance(value, Activation))

    def constant(self, position: int) -> np.ndarray | None:
        """An input that must be a constant or left out."""
        value = self.input(position)
        if isinstance(value, Activation):
            raise Refusal(
                f"input {position} depends on the model's input; only a constant is supported there",
                "Replace it by a constant, or by supported operators",
            )
        return value

    def weight(self, position: int) -> np.ndarray:
        """A float constant that must be there."""
        value = self.constant(position)
        if value is None or value.dtype.kind != "f":
            raise Refusal(f"input {position} must be a constant of floats", "Export the model in float32")
        return value

    def only_one(self, position: int, attribute: str) -> None:
        """Refuse a value given twice: as an input, and as the attribute that older opsets have for it."""
        if self.input(position) is not None and attribute in self.attributes:
            raise Refusal(f"{attribute} is given twice, as an input and as an attribute", "Export the model again")

    def integers(self, position: int, attribute: str) -> tuple[int, ...] | None:
        """Plain integers given as an input (newer opsets) or as an attribute (older ones); None: neither."""
        value = self.constant(position)
        if value is None:
            given = self.get(attribute)
            return None if given is None else tuple(given)
        self.only_one(position, attribute)
        if value.dtype.kind not in "iu" or value.ndim > 1:
            raise Refusal(
                f"{attribute} must be a list of constant integers that do not depend on the batch size",
                "Export with fixed sizes, the batch aside",
            )
        return tuple(int(entry) for entry in value.reshape(-1))
