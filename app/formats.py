"""What kind of file an upload is, by its first bytes. Only looked at, never parsed: the deep check is intake's."""

import re
from typing import NamedTuple

from app.errors import Refusal
from models.problems import Problem

HEAD = 64  # bytes
ZIP = b"PK\x03\x04"

TORCH = "torch.onnx.export(model.eval(), (example_input,), 'model.onnx', external_data=False)"
KERAS = "keras.models.load_model('model.keras').export('model.onnx', format='onnx')"
TFLITE = "python -m tf2onnx.convert --tflite model.tflite --output model.onnx"


ONNX, CANONICAL, SAFETENSORS = "onnx", "graph.json", "safetensors"
CANONICAL_WEIGHTS = "weights.safetensors"  # the name of the second file of a graph.json


class Format(NamedTuple):
    """How a format begins, and the one line that turns it into ONNX on the owner's machine."""

    name: str
    begins: bytes  # a regular expression
    convert: str


NOT_ONNX = (
    Format("a Keras archive", rb"PK\x03\x04.{26}(metadata|config)\.json", KERAS),
    Format("a zip archive (torch.save, TorchScript, torch.export)", rb"PK(\x03\x04|\x05\x06)", TORCH),
    Format("a pickle (torch.save)", rb"\x80[\x02-\x05]", TORCH),
    Format("HDF5 (Keras)", rb"\x89HDF\r\n\x1a\n", KERAS.replace(".keras", ".h5")),
    Format("TensorFlow Lite", rb".{4}TFL3", TFLITE),
    Format("a NumPy array", rb"\x93NUMPY", TORCH),
    Format("gzip", rb"\x1f\x8b", "gunzip model.onnx.gz"),
)


def model_format(head: bytes) -> str:
    """Which of the three formats a file is in that begins so. Refuses (415) what is surely none of them."""
    if re.match(rb".{3}\x00{5}\{", head, re.DOTALL):
        return SAFETENSORS
    if head.lstrip().startswith(b"{"):
        return CANONICAL
    for kind in NOT_ONNX:
        if re.match(kind.begins, head, re.DOTALL):
            raise Refusal(
                Problem.UNSUPPORTED_MODEL_FORMAT,
                f"the upload is {kind.name}; accepted are ONNX, safetensors and graph.json. "
                f"Convert it on your machine: {kind.convert}",
                convert=kind.convert,
            )
    return ONNX


def refuse_other_datasets(head: bytes) -> None:
    """Refuse a file (415) that begins so if it is no zip archive, which every .npz is."""
    if not head.startswith(ZIP):
        raise Refusal(Problem.UNSUPPORTED_DATASET_FORMAT, "the upload is no .npz archive: it does not begin as a zip")
