"""How a batch starts that a file asks for: what it names on this machine is sent first, each once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radii.cli.batch_file import BatchFile, ModelFile, Network, Subset
from radii.cli.certify import send_dataset, send_model, taken_in
from radii.cli.npy import input_shape
from radii.client import Client, ClientError

Json = dict[str, Any]


@dataclass(frozen=True)
class Folder:
    """Where the file is, to which its paths are relative."""

    path: Path

    def is_id(self, name: str) -> bool:
        """Whether the service has it already."""
        return name.startswith(("mdl_", "dat_")) and not (self.path / name).exists()

    def place(self, name: str) -> str:
        """The id, or the path from here."""
        return name if self.is_id(name) else str(self.path / name)

    def missing(self, asked: BatchFile) -> list[str]:
        """The files that are named and not there."""
        networks = [network for pair in asked.fronts() for network in pair] + [network for network, _ in asked.pairs()]
        places = dict.fromkeys(
            self.path / name for name in [*map(_path, networks), *asked.data()] if not self.is_id(name)
        )
        return [str(place) for place in places if not place.is_file()]


def start(client: Client, asked: BatchFile, folder: Folder, *, priority: int | None = None) -> Json:
    """The batch that a file in ``folder`` asks for, started; ``priority`` is of all, whatever the file says."""
    datasets = {name: send_dataset(client, folder.place(name)) for name in asked.data()}
    models: dict[str, Json] = {}
    for network, name in asked.pairs():
        if (key := _key(network)) not in models:
            settings = _settings(network)
            if "shape" not in settings and not folder.is_id(_path(network)):
                settings["shape"] = _shape(client, name, datasets[name], folder)
            models[key] = send_model(client, folder.place(_path(network)), **settings)
    for network, behind in asked.fronts():
        if (key := _key(network)) not in models:
            fits = {name: models[_key(behind)]["input"][name] for name in ("shape", "range")}
            settings = fits | {"task": "denoiser"} | _settings(network)
            models[key] = send_model(client, folder.place(_path(network)), **settings)
    for noun, documents in (("data set", datasets), ("model", models)):
        for name, document in documents.items():
            try:
                taken_in(client, document, noun)
            except ClientError as error:
                error.add_note(f"The {noun}: {name}")
                raise
    ids = {key: document["id"] for key, document in (models | datasets).items()}
    return client.create_batch(
        [ids[_key(network)] for network in asked.models or ()],
        [ids[name] for name in asked.datasets or ()],
        asked.methods or (),
        items=[
            {
                "model_id": ids[_key(item.model)],
                "dataset_id": ids[item.dataset],
                "method": item.method,
                **({} if item.denoiser is None else {"denoiser_model_id": ids[_key(item.denoiser)]}),
                **({} if item.subset is None else {"subset": item.subset.model_dump(exclude_none=True)}),
                **_given(item.priority if priority is None else priority),
            }
            for item in asked.items or ()
        ],
        name=asked.name,
        subset=_slice(asked.subset),
        denoiser_model_id=None if asked.denoiser is None else ids[_key(asked.denoiser)],
        **({} if asked.items else _given(asked.priority if priority is None else priority)),
    )


def _shape(client: Client, name: str, dataset: Json, folder: Folder) -> Any:
    """The shape of an input of that data set."""
    if folder.is_id(name):
        return taken_in(client, dataset, "data set")["summary"]["shape"]
    return input_shape(folder.path / name)


def _path(network: Network) -> str:
    return network.file if isinstance(network, ModelFile) else network


def _settings(network: Network) -> Json:
    return network.settings if isinstance(network, ModelFile) else {}


def _key(network: Network) -> str:
    """The same network with the same settings is sent once."""
    return network.model_dump_json(exclude_none=True) if isinstance(network, ModelFile) else network


def _given(priority: int | None) -> dict[str, int]:
    return {} if priority is None else {"priority": priority}


def _slice(subset: Subset | None) -> slice | None:
    return None if subset is None else slice(subset.start, subset.stop, subset.step)
