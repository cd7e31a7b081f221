"""How much a file may ask for. Every limit is checked before anything of that size is allocated."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

from radii.graph.errors import Refusal


@dataclass(frozen=True, slots=True)
class Limits:
    """The defaults admit ResNet-152 and VGG-19 with room to spare."""

    file_bytes: int = 2**31 - 1  # protobuf's own limit on a message
    nodes: int = 20_000
    tensor_elements: int = 2**28  # 1 GiB of float32
    total_elements: int = 2**29  # all constants together, those computed at import included
    made_elements: int = 2**24  # of a constant computed to be larger than what it is computed from
    made_work: int = 2**32  # multiply-adds of a constant computed at import
    activation_elements: int = 2**26  # alive at once, a sample: 256 MiB of float32

    def times(self, samples: int) -> "Limits":
        """What ``samples`` samples may ask for at once."""
        return replace(
            self,
            total_elements=samples * self.total_elements,
            made_elements=samples * self.made_elements,
            activation_elements=samples * self.activation_elements,
        )

    def check_tensor(self, shape: Iterable[int]) -> int:
        """The number of elements of a tensor; `Refusal` where that is too many."""
        return _checked(shape, self.tensor_elements)

    def check_made(self, shape: Iterable[int], given: int) -> int:
        """The same for a constant computed at import from at most ``given`` elements: it may not grow far."""
        return _checked(shape, min(self.tensor_elements, max(given, self.made_elements)))

    def check_work(self, multiply_adds: int) -> None:
        """`Refusal` where a constant takes too many multiply-adds to compute."""
        if multiply_adds > self.made_work:
            raise Refusal(
                f"a constant takes {multiply_adds} multiply-adds to compute, over the limit of {self.made_work}",
                "Export the model again with constant folding on",
            )


def _checked(shape: Iterable[int], limit: int) -> int:
    elements = prod(int(size) for size in shape)
    if elements > limit:
        raise Refusal(
            f"a tensor of {elements} elements is over the limit of {limit}", "Use a smaller model or a smaller input"
        )
    return elements


DEFAULTS = Limits()
