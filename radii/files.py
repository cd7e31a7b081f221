"""Files that belong together."""

from pathlib import Path


def external_data(file: Path) -> list[Path]:
    """The files beside an ONNX file that hold its weights, by the names that exporters give them; of a graph.json, its
    weights.safetensors.

    The file's own bytes would say it too, but the client has no protobuf parser; a file too many does no harm.
    """
    if file.suffix == ".safetensors":
        return []
    if file.suffix == ".json":
        return [path for path in (file.with_name("weights.safetensors"),) if path.is_file()]
    prefixes = (f"{file.name}.data", f"{file.name}_data")
    return sorted(
        path
        for path in file.parent.iterdir()
        if path.is_file() and (path.name.startswith(prefixes) or path.name == f"{file.stem}.data")
    )
