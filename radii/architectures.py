"""The architectures that weights alone are enough for, and their parameters. Standard library alone.

Each is built in `radii.graph.architectures`; docs/architectures.md has the names of the tensors.
"""

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

MOST = 65_536  # channels or units of a layer, or classes
DEEPEST = 1000  # layers, or blocks of a stage

Activation = Literal["relu", "gelu", "silu", "tanh"]


def _between(name: str, values: list[int], most: int = MOST, *, count: int = DEEPEST) -> None:
    if not 1 <= len(values) <= count:
        raise ValueError(f"{name}: give 1 to {count} numbers")
    if not all(1 <= value <= most for value in values):
        raise ValueError(f"{name}: every number is between 1 and {most}")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What all of them have; the input's shape is that which the model is registered with."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    num_classes: int = 10

    def __post_init__(self) -> None:
        if not 2 <= self.num_classes <= MOST:
            raise ValueError(f"num_classes: between 2 and {MOST}")


@dataclass(frozen=True, kw_only=True)
class Mlp(Architecture):
    """Flatten, then Linear, BatchNorm1d (if asked for) and the activation for each hidden layer, then Linear."""

    hidden: list[int] = field(default_factory=lambda: [256, 256])
    activation: Activation = "relu"
    batch_norm: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _between("hidden", self.hidden)


@dataclass(frozen=True, kw_only=True)
class Resnet(Architecture):
    """torchvision's ResNet. ``stem``: 7x7/2 and a max pool (imagenet), or 3x3 (cifar). ResNet-18 by default."""

    block: Literal["basic", "bottleneck"] = "basic"
    layers: list[int] = field(default_factory=lambda: [2, 2, 2, 2])
    width: int = 64
    stem: Literal["imagenet", "cifar"] = "imagenet"

    def __post_init__(self) -> None:
        super().__post_init__()
        _between("layers", self.layers, DEEPEST, count=6)
        _between("width", [self.width], 1024)


@dataclass(frozen=True, kw_only=True)
class WideResnet(Architecture):
    """The pre-activation network of Zagoruyko and Komodakis 2016 (WRN-depth-width), as TRADES has it."""

    depth: int = 28
    width: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        _between("width", [self.width], 64)
        if not 10 <= self.depth <= DEEPEST or (self.depth - 4) % 6:
            raise ValueError(f"depth: 6 n + 4, between 10 and {DEEPEST}")


@dataclass(frozen=True, kw_only=True)
class Vgg(Architecture):
    """torchvision's VGG: 3x3 convolutions of these widths, 0 being a 2x2 max pool. VGG-16 by default."""

    widths: list[int] = field(
        default_factory=lambda: [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]
    )
    batch_norm: bool = True
    pool: int = 7
    hidden: int = 4096

    def __post_init__(self) -> None:
        super().__post_init__()
        _between("widths", [width + 1 for width in self.widths], MOST)
        _between("pool", [self.pool], 64)
        _between("hidden", [self.hidden])
        if not any(self.widths):
            raise ValueError("widths: at least one convolution")


@dataclass(frozen=True, kw_only=True)
class Convnext(Architecture):
    """torchvision's ConvNeXt. ``patch``: kernel and stride of the first convolution. ConvNeXt-Tiny by default."""

    layers: list[int] = field(default_factory=lambda: [3, 3, 9, 3])
    widths: list[int] = field(default_factory=lambda: [96, 192, 384, 768])
    patch: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        _between("layers", self.layers, DEEPEST, count=6)
        _between("widths", self.widths, count=6)
        _between("patch", [self.patch], 64)
        if len(self.layers) != len(self.widths):
            raise ValueError("layers and widths: one number each for every stage")


ARCHITECTURES: dict[str, type[Architecture]] = {
    "mlp": Mlp,
    "resnet": Resnet,
    "wide_resnet": WideResnet,
    "vgg": Vgg,
    "convnext": Convnext,
}


def parse_architecture(document: Any) -> Architecture:
    """``{"name": ..., "parameters": {...}}`` as parameters. Raises `ValueError`, which says what is wrong with each."""
    from pydantic import TypeAdapter, ValidationError

    name = document.get("name") if isinstance(document, dict) else None
    if name not in ARCHITECTURES or set(document) - {"name", "parameters"}:
        raise ValueError(f"an architecture is a name ({', '.join(ARCHITECTURES)}) and parameters")
    try:  # as JSON: nothing is taken for what it is not, and a list may be a list
        text = json.dumps(document.get("parameters", {}))
        return TypeAdapter(ARCHITECTURES[name]).validate_json(text, strict=True)
    except ValidationError as error:
        raise ValueError("; ".join(_in_words(one) for one in error.errors())) from None


def _in_words(error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
