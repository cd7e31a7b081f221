"""How arguments are written, where typer has no word for it."""

import json
from typing import Any

import typer


def numbers(text: str) -> list[float]:
    """``0.5,0.25`` as numbers."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter("give numbers with commas between them, e.g. 0,1") from None


def shape(text: str) -> list[int]:
    """``1,8,8`` as lengths."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise typer.BadParameter("give lengths with commas between them, e.g. 1,8,8")
    return [int(part) for part in parts]


def subset(text: str) -> slice:
    """``0:50`` or ``0:450:9`` as a slice."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(part.isascii() and part.isdigit() for part in parts):
        raise typer.BadParameter("give START:STOP or START:STOP:STEP, e.g. 0:50")
    return slice(*(int(part) for part in parts))


def architecture(text: str) -> dict[str, Any]:
    """``resnet`` or ``resnet:{"layers": [3, 4, 6, 3]}`` as the API has it."""
    from radii.architectures import parse_architecture

    name, _, parameters = text.partition(":")
    try:
        document = {"name": name, "parameters": json.loads(parameters or "{}")}
        parse_architecture(document)
    except ValueError as error:
        raise typer.BadParameter(f'{error}; e.g. resnet or resnet:{{"layers": [3, 4, 6, 3]}}') from None
    return document


def radius_kind(text: str) -> str:
    """A kind of method that certifies radii."""
    from radii.methods import KINDS

    kinds = [kind for kind, method in KINDS.items() if method.no_curve is None]
    if text not in kinds:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(kinds)}")
    return text
