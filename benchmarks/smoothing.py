"""Votes under noise: radii's loop against those of Cohen et al. and of ART, and against the forward pass alone.

    python -m benchmarks.smoothing [--device cuda] [--graphs FOLDER] [--rounds N]
    python -m benchmarks.smoothing --write FOLDER

Every side runs in processes of its own, in turn, on one CPU thread, and keeps its least CPU time; with a GPU its least
wall time, all work on it done. The peers have a plain environment, radii that of its workers (workers/environment.py)
and, as those, torch's deterministic algorithms. Nobody uses TF32. Peers, from their published code: Cohen et al. 2019
(smoothing/core.py, `_sample_noise`: a repeated input, `torch.randn_like` where the input is, votes counted in Python),
ART 1.x (RandomizedSmoothing, `_prediction_counts`: all n noisy copies in numpy, then batches of 128).

radii runs the network by the executor, and at the batch size, that its own search finds first: for a million samples,
or, on a GPU, for a thousand million, where compilation would pay too. What that tried is listed below each table.
"forward alone" is that on a ready batch, without noise or votes, in the workers' environment; "torch" is radii without
the search; "bfloat16" another classifier, the network in that precision; "sgemm" is what the network's multiply-adds
take at the rate of a large float32 matrix product: about what any loop around direct convolutions in float32 needs at
least. Ratios above 1: radii is faster. The last columns are the share of that rate, and of the one for float32 in the
maker's data sheet, that the network's multiply-adds would take of the time.

A machine without onnx reads the graphs that ``--write`` left in a folder elsewhere.
"""

import argparse
import json
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from radii.execution.executors import CHANNELS_LAST, START, TORCH, Execution, build, executors
from radii.execution.search import batch_sizes, clock_of, fastest
from radii.graph import Graph
from radii.smoothing import Noise, chunk_seed, chunk_size, chunks, count_chunk, grid_of, noise_of
from radii.smoothing.noise import Part
from radii.smoothing.sampling import count_parts
from tests.graph import cuda
from tests.graph.plain import BasicBlock, ResNet, shaken
from tests.smoothing.cuda import as_a_worker
from workers.environment import ALLOCATOR, compiler

SIGMA = 0.25
KEY = bytes(32)
CLASSES = 10
SHAPE = (3, 32, 32)
SECONDS = 1.0  # of samples at a time
LEAST = 500  # of them
CHUNKS = 16  # that a worker counts with one wait for a GPU
NOMINAL = {"H100 80GB HBM3": 66.9e12, "H100 PCIe": 51.2e12, "H200": 66.9e12, "A100": 19.5e12}  # float32, data sheets
Classifier = Callable[[torch.Tensor], torch.Tensor]


def cohen(classifier: Classifier, x: torch.Tensor, num: int, batch_size: int) -> np.ndarray:
    with torch.no_grad():
        counts = np.zeros(CLASSES, dtype=int)
        for _ in range(math.ceil(num / batch_size)):
            this_batch_size = min(batch_size, num)
            num -= this_batch_size
            batch = x.repeat((this_batch_size, *([1] * x.ndim)))
            noise = torch.randn_like(batch) * SIGMA
            predictions = classifier(batch + noise).argmax(1)
            for index in predictions.cpu().numpy():
                counts[index] += 1
        return counts


def art(classifier: Classifier, x: torch.Tensor, num: int, batch_size: int) -> np.ndarray:
    copies = np.repeat(x.cpu().numpy()[np.newaxis], num, axis=0)
    copies = copies + np.random.default_rng(0).normal(scale=SIGMA, size=copies.shape).astype(np.float32)
    counts = np.zeros(CLASSES, dtype=int)
    with torch.no_grad():
        for start in range(0, num, batch_size):
            logits = classifier(torch.from_numpy(copies[start : start + batch_size]).to(x.device)).cpu().numpy()
            one_hot = np.zeros_like(logits)
            one_hot[np.arange(len(logits)), logits.argmax(1)] = 1
            counts += one_hot.sum(axis=0).astype(int)
    return counts


def radii(classifier: Classifier, x: torch.Tensor, num: int, batch_size: int, noise: str = "grid") -> np.ndarray:
    law = on_grid(x.device) if noise == "grid" else noise_of("gaussian", SIGMA, x.device)
    call: dict[str, Any] = {"num_classes": CLASSES, "noise": law, "batch_size": batch_size}
    counts = np.zeros(CLASSES + 1, dtype=np.int64)
    numbers = range(chunks(num))
    if x.device.type == "cpu":
        for number in numbers:
            size = chunk_size(num, number)
            counts += count_chunk(classifier, x, key=KEY, stage="estimate", number=number, size=size, **call)
        return counts
    parts = [Part(chunk_seed(KEY, "estimate", number), x, chunk_size(num, number)) for number in numbers]
    for start in range(0, len(parts), CHUNKS):
        counts += count_parts(classifier, parts[start : start + CHUNKS], **call).sum(axis=0)
    return counts


def on_grid(device: torch.device) -> Noise:
    return grid_of("gaussian", SIGMA, 0.0, 1.0, device=device)


def floor(classifier: Classifier, x: torch.Tensor, num: int, batch_size: int) -> None:
    batch = x.repeat((batch_size, *([1] * x.ndim)))
    with torch.inference_mode():
        for start in range(0, num, batch_size):
            classifier(batch[: num - start])


def now(device: torch.device) -> float:
    """CPU seconds; with a GPU seconds of wall time, once that has nothing left to do."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def sgemm(device: torch.device) -> float:
    """Seconds a multiply-add takes in the product of two large matrices."""
    size = 1024 if device.type == "cpu" else 8192
    left, right = torch.rand(2, size, size, device=device)
    best = math.inf
    for _ in range(10):
        start = now(device)
        torch.mm(left, right)
        best = min(best, now(device) - start)
    return best / size**3


SIDES: dict[
    str, tuple[Any, int | Execution | None]
] = {  # and how they run the network: as it was, at a batch size; or by an executor
    "Cohen et al., batch 100": (cohen, 100),
    "Cohen et al., batch 400": (cohen, 400),
    "ART, batch 128": (art, 128),
    "radii, on the grid": (radii, None),
    "radii, Gaussian": (partial(radii, noise="gaussian"), None),
    "radii, torch": (radii, Execution(TORCH, START)),
    "radii, bfloat16": (radii, None),
    "forward alone": (floor, None),
    "sgemm": (None, None),
}


def convolutional() -> nn.Module:
    """32x32x3 to 10 classes; 4 million multiply-adds."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 64, CLASSES),
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "small CNN, 32x32": convolutional,
    "ResNet-18, 32x32": lambda: ResNet(BasicBlock, [2, 2, 2, 2], cifar=True),
}


def network_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    return shaken(NETWORKS[name]()).eval()


def graph_of(name: str, folder: str) -> Graph:
    """Of the folder; without one, of the file that torch exports."""
    if folder:
        return dict(cuda.load(Path(folder)))[name]
    from radii.graph import read_onnx
    from tests.graph.export import export

    return read_onnx(export(network_of(name), SHAPE, dynamo=False, opset=17, dynamic=True))


def measure(name: str, side: str, device: torch.device, folder: str, chosen: dict[str, Any]) -> float:
    """Microseconds a sample, in this process."""
    function, way = SIDES[side]
    if function is None:
        return float(sgemm(device) * graph_of(name, folder).summary()["multiply_adds"] * 1e6)
    if isinstance(way, int):
        classifier: Classifier = network_of(name).to(device)
        batch_size = way
    else:
        precision = "bfloat16" if "bfloat16" in side else "float32"
        as_a_worker()
        way = way or Execution(**chosen[precision])
        graph, batch_size = graph_of(name, folder), way.batch_size
        classifier = build(way.executor, graph, device, getattr(torch, precision), batch_size=batch_size)
    x = image().to(device)

    def spent(num: int) -> float:
        start = now(device)
        function(classifier, x, num, batch_size)
        return now(device) - start

    spent(100)
    first = spent(LEAST)
    num = LEAST * max(1, round(SECONDS / first))
    return min([spent(num) for _ in range(2)] + [first] * (num == LEAST)) / num * 1e6


def image() -> torch.Tensor:
    return torch.randint(0, 256, SHAPE, generator=torch.Generator().manual_seed(0)) / 255


def search(name: str, device: torch.device, folder: str) -> dict[str, Any]:
    """As a worker does, in each precision; on a CPU, few of which are made for bfloat16, that is not searched for."""
    as_a_worker()
    graph, x = graph_of(name, folder), image().to(device)

    def draw(size: int) -> torch.Tensor:
        batch = torch.empty((size, *x.shape), device=device)
        on_grid(device).stream(KEY, x)(batch)
        return batch

    def found(dtype: torch.dtype) -> Execution:
        return fastest(
            executors(graph, device, dtype),
            lambda way: build(way.executor, graph, device, dtype, batch_size=way.batch_size),
            draw,
            sizes=batch_sizes(graph, device),
            samples=10**6 if device.type == "cpu" else 10**9,
            clock=clock_of(device),
            dtype=dtype,
        )

    single = found(torch.float32)
    half = Execution(CHANNELS_LAST, START) if device.type == "cpu" else found(torch.bfloat16)
    return {"float32": asdict(single), "bfloat16": asdict(half)}


def about(device: torch.device) -> dict[str, Any]:
    """What is printed above the tables, and the rate that the maker states: operations a second."""
    name = f"CPU, {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else torch.cuda.get_device_name()
    rate = next((rate for part, rate in NOMINAL.items() if part in name), None)
    return {"name": name, "torch": torch.__version__, "threads": torch.get_num_threads(), "nominal": rate}


def child(task: str, arguments: argparse.Namespace, *, ours: bool, name: str = "", chosen: str = "{}") -> Any:
    """What a process of its own answers, and what it logs."""
    plain = {"OMP_NUM_THREADS": "1", "NVIDIA_TF32_OVERRIDE": "0"}
    environment = {**os.environ, **plain, **({**ALLOCATOR, **compiler()} if ours else {})}
    command = [sys.executable, "-m", "benchmarks.smoothing", "--device", arguments.device]
    command += ["--graphs", arguments.graphs, "--child", task, name, chosen]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}, {task}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def answer(task: str, name: str, chosen: str, device: torch.device, folder: str) -> Any:
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if task == "about":
        return about(device)
    if task == "search":
        logging.basicConfig(format="tried: %(message)s")
        logging.getLogger("radii").setLevel(logging.INFO)
        return search(name, device, folder)
    return measure(name, task, device, folder, json.loads(chosen))


def table(name: str, arguments: argparse.Namespace, nominal: float | None) -> None:
    found, log = child("search", arguments, ours=True, name=name)
    chosen, best = json.dumps(found), dict.fromkeys(SIDES, math.inf)
    for _ in range(arguments.rounds):
        for side, (_, way) in SIDES.items():
            spent, _ = child(side, arguments, ours=not isinstance(way, int), name=name, chosen=chosen)
            best[side] = min(best[side], spent)
    print(f"\n{name}, by {found['float32']['executor']}, batches of {found['float32']['batch_size']}; ", end="")
    print(f"in bfloat16 by {found['bfloat16']['executor']}, batches of {found['bfloat16']['batch_size']}")
    print(f"  {'':24} {'us/sample':>10} {'to grid':>8} {'to Gauss':>8} {'of sgemm':>8} {'of peak':>8}")
    operations = 2 * graph_of(name, arguments.graphs).summary()["multiply_adds"]
    for side, spent in best.items():
        ratios = [spent / best[f"radii, {noise}"] for noise in ("on the grid", "Gaussian")]
        shares = [best["sgemm"] / spent, operations / (spent * 1e-6) / nominal] if nominal else [best["sgemm"] / spent]
        print(f"  {side:24} {spent:10.2f}", *(f"{ratio:8.2f}" for ratio in ratios), *(f"{s:8.1%}" for s in shares))
    print(*(f"  {line}" for line in log.splitlines() if line.startswith("tried: ")), sep="\n")


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in NETWORKS:
        cuda.save(folder / name, graph_of(name, ""))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--graphs", default="", metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path, metavar="FOLDER")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        task, name, chosen = arguments.child
        print(json.dumps(answer(task, name, chosen, torch.device(arguments.device), arguments.graphs)))
    elif arguments.write:
        write(arguments.write)
    else:
        told, _ = child("about", arguments, ours=True)
        print(f"Device: {told['name']}")
        print(f"torch {told['torch']}, threads: {told['threads']}, TF32 off for all")
        for name in NETWORKS:
            table(name, arguments, told["nominal"])


if __name__ == "__main__":
    main()
