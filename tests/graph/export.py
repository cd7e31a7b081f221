"""The two exporters of torch, with their own chatter (and nothing else) silenced."""

import io
import warnings
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import onnx
import torch
from torch import nn
from torch.onnx._internal.exporter._registration import ONNXRegistry

# dynamo builds its table of operators anew for every export, which takes half of its time; nothing changes the table
_table = staticmethod(cache(ONNXRegistry.from_torchlib))


def export(
    network: nn.Module, shape: tuple[int, ...], *, dynamo: bool, opset: int, dynamic: bool, file: Path | None = None
) -> bytes:
    """The file that ``torch.onnx.export`` writes, weights inside; ``file`` (dynamo): also there, weights beside it."""
    x = torch.randn(2 if dynamic else 1, *shape, generator=torch.Generator().manual_seed(5))
    with warnings.catch_warnings():
        # The TorchScript exporter announces its own end and that of what it is made of.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(torch|onnxscript|copyreg|tests)\b")
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"(torch|onnxscript|copyreg)\b")
        warnings.filterwarnings("ignore", message=".*legacy TorchScript-based ONNX export.*")
        warnings.filterwarnings("ignore", message="# 'dynamic_axes' is not recommended.*")
        warnings.filterwarnings("ignore", message="Constant folding - Only steps=1 can be constant folded.*")
        if not dynamo:
            buffer = io.BytesIO()
            axes: dict[str, Any] = {"dynamic_axes": {"input": {0: "batch"}}} if dynamic else {}
            torch.onnx.export(
                network,
                (x,),
                buffer,  # type: ignore[arg-type]  # the TorchScript exporter writes to one
                dynamo=False,
                opset_version=opset,
                input_names=["input"],
                **axes,
            )
            return buffer.getvalue()
        shapes: Any = ({0: torch.export.Dim("batch")},) if dynamic else None
        with patch.object(ONNXRegistry, "from_torchlib", _table):
            program = torch.onnx.export(
                network, (x,), dynamo=True, opset_version=opset, dynamic_shapes=shapes, verbose=False
            )
        assert program is not None
        if file is not None:
            program.save(file, external_data=True)
        proto: onnx.ModelProto = program.model_proto
        return proto.SerializeToString()
