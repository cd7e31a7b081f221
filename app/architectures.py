"""Named architectures as a request names them. What each is: ``radii.architectures``."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from app.schema import Input
from radii import architectures
from radii.architectures import parse_architecture


def _parsed(name: str) -> BeforeValidator:
    def parse(parameters: Any) -> Any:
        if isinstance(parameters, architectures.Architecture):
            return parameters
        return parse_architecture({"name": name, "parameters": parameters})

    check: Callable[[Any], Any] = parse
    return BeforeValidator(check)


class Mlp(Input):
    name: Literal["mlp"]
    parameters: Annotated[architectures.Mlp, _parsed("mlp")] = architectures.Mlp()


class Resnet(Input):
    name: Literal["resnet"]
    parameters: Annotated[architectures.Resnet, _parsed("resnet")] = architectures.Resnet()


class WideResnet(Input):
    name: Literal["wide_resnet"]
    parameters: Annotated[architectures.WideResnet, _parsed("wide_resnet")] = architectures.WideResnet()


class Vgg(Input):
    name: Literal["vgg"]
    parameters: Annotated[architectures.Vgg, _parsed("vgg")] = architectures.Vgg()


class Convnext(Input):
    name: Literal["convnext"]
    parameters: Annotated[architectures.Convnext, _parsed("convnext")] = architectures.Convnext()


Architecture = Annotated[Mlp | Resnet | WideResnet | Vgg | Convnext, Field(discriminator="name")]
