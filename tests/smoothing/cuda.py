"""The executors of a GPU against torch there.

    python -m tests.smoothing.cuda FOLDER [--compiled]

FOLDER is what ``python -m tests.graph.cuda write FOLDER`` left; needs torch, NumPy, SciPy and a GPU. A line a network:

* as a CUDA graph: the very logits that the recorded executor makes, in float32 and bfloat16; the same again after other
  samples, and of fewer than it is made for;
* ``--compiled`` (half a minute each): logits that a search accepts;
* of 950 samples under noise, in float32: votes apart from eager's, which lie near ties.

The exit code is 1 where logits differ, where more than four votes do, or where a network that torch runs fails.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radii.execution.executors import COMPILED, RECORDED, TORCH, build, executors
from radii.execution.search import agree, first_line
from radii.graph import Graph
from radii.smoothing import count_chunk, grid_of
from radii.smoothing.sampling import Classifier
from tests.graph.cuda import load

GPU = torch.device("cuda")
SIZE = 50
NEAR_TIES = 4


def as_a_worker() -> None:
    """The settings of `workers.runner.compute.ShardComputer`, which needs more than torch."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def compared(graph: Graph, dtype: torch.dtype, *, compiled: bool) -> list[str]:
    """What is wrong."""
    batch = torch.rand(SIZE, *graph.input_shape, generator=torch.Generator().manual_seed(2)).to(GPU)
    names = [name for name in executors(graph, GPU, dtype) if compiled or name != COMPILED]
    wrong: list[str] = []
    expected: dict[str, torch.Tensor] = {}
    votes: dict[str, np.ndarray] = {}
    for name in names:
        way = build(name, graph, GPU, dtype, batch_size=SIZE)
        with torch.inference_mode():
            expected[name] = found = way(batch).clone()
            if name in RECORDED:
                way(torch.zeros_like(batch))
                if not same(way(batch), found) or not same(way(batch[:20]), found[:20]):
                    wrong.append(f"{name}: not the same again")
                if name != COMPILED and not same(found, expected[RECORDED[name]]):
                    wrong.append(f"{name}: not what it recorded")
        if not agree(found, expected[TORCH], dtype):
            wrong.append(f"{name}: other logits")
        if dtype == torch.float32 and graph.num_classes > 1:
            votes[name] = counted(way, graph)
            others = int(abs(votes[name] - votes[TORCH]).sum()) // 2
            if others > NEAR_TIES:
                wrong.append(f"{name}: {others} other votes")
    return wrong


def same(one: torch.Tensor, two: torch.Tensor) -> bool:
    return torch.allclose(one, two, rtol=0, atol=0, equal_nan=True)


def counted(way: Classifier, graph: Graph) -> np.ndarray:
    x = torch.randint(0, 256, graph.input_shape, generator=torch.Generator().manual_seed(1)) / 255
    call: dict[str, Any] = {
        "num_classes": graph.num_classes,
        "noise": grid_of("gaussian", 0.5),
        "key": bytes(32),
        "batch_size": SIZE,
    }
    return count_chunk(way, x.to(GPU), **call, stage="estimate", number=0, size=950)


def check(folder: Path, *, compiled: bool) -> int:
    as_a_worker()
    failed = 0
    for name, graph in load(folder):
        for dtype in (torch.float32, torch.bfloat16):
            try:
                wrong = compared(graph, dtype, compiled=compiled)
            except torch.AcceleratorError:
                raise  # nothing runs here any more
            except Exception as error:  # the others are still of interest
                wrong = [first_line(error)]
            failed += bool(wrong)
            print(f"{name}, {str(dtype).removeprefix('torch.')}: {'; '.join(wrong) or 'the same'}", flush=True)
    return failed


if __name__ == "__main__":
    match sys.argv[1:]:
        case [folder, *compiled] if compiled in ([], ["--compiled"]):
            failures = check(Path(folder), compiled=bool(compiled))
            print(f"{failures} fail")
            sys.exit(failures > 0)
        case _:
            sys.exit(__doc__)
