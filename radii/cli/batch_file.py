"""The file of `radii batch`: what is to be certified, in YAML or JSON. Paths in it are relative to it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from radii.methods import KINDS, AnyMethod

Json = dict[str, Any]


class Entry(BaseModel):
    """Part of the file: nothing is ignored, nothing is guessed."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class ModelFile(Entry):
    """A network on this machine, and what `Client.create_model` needs to know of it."""

    file: str
    shape: list[int] | None = None
    range: list[float] | None = Field(default=None, min_length=2, max_length=2)
    mean: float | list[float] | None = None
    std: float | list[float] | None = None
    name: str | None = None
    labels: list[str] | None = None
    output: str | None = None
    architecture: Json | None = None
    task: str | None = None

    @property
    def settings(self) -> Json:
        """Those that were given."""
        return self.model_dump(exclude={"file"}, exclude_none=True)


class Subset(Entry):
    """The inputs start, start + step, ... below stop."""

    start: int | None = None
    stop: int | None = None
    step: int | None = None


Network = str | ModelFile  # a path, an id, or a path with settings
Priority = Annotated[int, Field(ge=0, le=9)]


class Item(Entry):
    """One certification."""

    model: Network
    dataset: str
    method: AnyMethod
    denoiser: Network | None = None
    subset: Subset | None = None
    priority: Priority | None = None


class BatchFile(Entry):
    """All combinations of models, data sets and methods, or a list of certifications."""

    name: str | None = None
    models: list[Network] | None = Field(default=None, min_length=1)
    datasets: list[str] | None = Field(default=None, min_length=1)
    methods: list[AnyMethod] | None = Field(default=None, min_length=1)
    denoiser: Network | None = None
    subset: Subset | None = None
    priority: Priority | None = None
    items: list[Item] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        combined = {name: getattr(self, name) for name in ("models", "datasets", "methods")}
        for_all = {name: getattr(self, name) for name in ("denoiser", "subset", "priority")}
        if self.items is None and None in combined.values():
            raise ValueError("give models, datasets and methods, which are combined; or items")
        if self.items is not None and any(value is not None for value in (combined | for_all).values()):
            raise ValueError("each of the items says all for itself; leave out what stands beside them, or items")
        return self

    def pairs(self) -> Iterator[tuple[Network, str]]:
        """Each model, and a data set that it is certified on."""
        if self.items is not None:
            yield from ((item.model, item.dataset) for item in self.items)
        else:
            yield from ((model, (self.datasets or [])[0]) for model in self.models or [])

    def fronts(self) -> Iterator[tuple[Network, Network]]:
        """Each denoiser, and a model that it stands in front of."""
        if self.items is not None:
            yield from ((item.denoiser, item.model) for item in self.items if item.denoiser is not None)
        elif self.denoiser is not None:
            yield self.denoiser, (self.models or [])[0]

    def data(self) -> list[str]:
        """Each data set once."""
        named = [item.dataset for item in self.items or []] or self.datasets or []
        return list(dict.fromkeys(named))


def read(file: Path) -> BatchFile:
    """What the file says. Raises ``ValueError``, with the place in the file."""
    text = file.read_text()
    document = _json(file, text) if file.suffix == ".json" else _yaml(file, text)
    if not isinstance(document, dict):
        raise ValueError(f"{file}: it holds no mapping; see docs/batches.md")
    try:
        return BatchFile.model_validate(document)
    except ValidationError as error:
        told = dict.fromkeys(f"{file}: {_in_words(one)}" for one in error.errors())
        raise ValueError("\n".join(told)) from None


def _json(file: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}") from None


def _yaml(file: Path, text: str) -> Any:
    """YAML 1.2, in which 1e-3 is a number, `on` a word, and no key stands twice."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        where = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise ValueError(f"{file}{where}: {error.problem}") from None
    except YAMLError as error:
        raise ValueError(f"{file} is no YAML: {error}") from None


def _in_words(error: Any) -> str:
    """Where and what. pydantic puts the member of a union into the place, where the file has no such level."""
    place = ".".join(str(part) for part in error["loc"] if part not in (*KINDS, "str", "ModelFile"))
    message = error["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
