"""From start to end: `radii inspect` and `radii lipschitz` on networks of 1 MB, this build against another.

    python -m benchmarks.start OTHER/.venv/bin/radii [--rounds 7]

The other build is a checkout with an environment of its own. Both are run in turn, each in a process of its own and
without OMP_NUM_THREADS, and the medians are compared; then those beside two processes that never rest with those of the
same build when quiet. CPU time is shown beside wall time: on a machine with other work it is what can be compared.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

COMMANDS = ("inspect", "lipschitz")
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}


def dense(rng: np.random.Generator) -> tuple[list[NodeProto], dict[str, np.ndarray], list[int]]:
    """784-256-128-128-10, ReLU between."""
    nodes, weights, name = [], {}, "x"
    for i, (n, m) in enumerate(((784, 256), (256, 128), (128, 128), (128, 10))):
        weights[f"w{i}"] = rng.standard_normal((m, n)) * np.sqrt(2 / n)
        nodes.append(helper.make_node("Gemm", [name, f"w{i}"], ["y" if i == 3 else f"h{i}"], transB=1))
        nodes.append(helper.make_node("Relu", [f"h{i}"], [name := f"r{i}"]))
    return nodes[:-1], weights, [784]


def convolutions(rng: np.random.Generator) -> tuple[list[NodeProto], dict[str, np.ndarray], list[int]]:
    """Four of 3x3 on 3x32x32, a mean and a dense layer."""
    nodes, weights, name = [], {}, "x"
    for i, (n, m) in enumerate(((3, 32), (32, 64), (64, 128), (128, 128))):
        weights[f"w{i}"] = rng.standard_normal((m, n, 3, 3)) * np.sqrt(2 / (9 * n))
        strides = [min(2, i + 1)] * 2
        nodes.append(helper.make_node("Conv", [name, f"w{i}"], [f"h{i}"], pads=[1] * 4, strides=strides))
        nodes.append(helper.make_node("Relu", [f"h{i}"], [name := f"r{i}"]))
    weights["w"] = rng.standard_normal((10, 128)) * 0.1
    nodes += [helper.make_node("GlobalAveragePool", [name], ["p"]), helper.make_node("Flatten", ["p"], ["f"])]
    return [*nodes, helper.make_node("Gemm", ["f", "w"], ["y"], transB=1)], weights, [3, 32, 32]


def written(file: Path, nodes: list[NodeProto], weights: dict[str, np.ndarray], shape: list[int]) -> Path:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])]
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    file.write_bytes(model.SerializeToString())
    return file


def run(radii: str, command: str, file: Path) -> tuple[float, float]:
    """Seconds of wall and of CPU time."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([radii, command, str(file)], check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextmanager
def busy() -> Iterator[None]:
    """Two processes that never rest."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def medians(builds: dict[str, str], command: str, file: Path, rounds: int) -> dict[str, tuple[float, float]]:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in builds}
    for _ in range(rounds):
        for name, radii in builds.items():
            times[name].append(run(radii, command, file))
    return {name: tuple(map(statistics.median, zip(*found, strict=True))) for name, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", help="the other build's command `radii`")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    builds = {"other": arguments.other, "ours": str(Path(sys.executable).with_name("radii"))}
    columns = ("other", "ours", "ours/other", "ours busy", "other busy")
    print(f"{'':24}" + "".join(f" {column:>13}" for column in columns))
    print(f"{'seconds, then ratios':24}" + f" {'wall':>6} {'CPU':>6}" * len(columns))
    with tempfile.TemporaryDirectory() as folder:
        for make in (dense, convolutions):
            file = written(Path(folder) / f"{make.__name__}.onnx", *make(np.random.default_rng(0)))
            for command in COMMANDS:
                for radii in builds.values():
                    run(radii, command, file)  # the disk's cache
                quiet = medians(builds, command, file, arguments.rounds)
                with busy():
                    beside = medians(builds, command, file, arguments.rounds)
                figures = [*quiet["other"], *quiet["ours"]]
                pairs = ((quiet["ours"], quiet["other"]), *((beside[name], quiet[name]) for name in ("ours", "other")))
                figures += [one / other for pair in pairs for one, other in zip(*pair, strict=True)]
                row = "".join(f" {figure:6.2f}" for figure in figures)
                print(f"{command + ' ' + make.__name__:24}{row}", flush=True)


if __name__ == "__main__":
    main()
