"""The demo: start the service, certify two networks on fifty handwritten digits, show what it found.

    make demo        (or: python examples/demo.py)

It starts `radii up` on a free port with its data in radii-demo/, and ends it again. Everything else is what
`radii certify` does, with the same code.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from radii.cli.certify import follow, start
from radii.cli.console import err, out, print_problem
from radii.cli.plot import plot
from radii.cli.report import print_report, print_results, save_results
from radii.client import Client, ClientError, ProblemError
from radii.methods import Lipschitz, Smoothing

ROOT = Path(__file__).parent.parent
DIGITS = ROOT / "examples" / "digits"
FOLDER = ROOT / "radii-demo"
INPUTS = slice(0, 50)
RUNS = {
    "smoothing": ("digits.onnx", Smoothing(sigma=0.25, n=10_000)),
    "lipschitz": ("digits-lipschitz.onnx", Lipschitz()),
}
CERTIFIED = {"smoothing": "digits.onnx, smoothed", "lipschitz": "digits-lipschitz.onnx itself"}


@contextmanager
def service() -> Iterator[str]:
    """The URL of a service of our own."""
    command = [sys.executable, "-m", "radii.cli", "up", "--port", "0", "--data-dir", str(FOLDER)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            out.print(line.rstrip(), markup=False)
            if line.split()[:1] == ["API"]:
                yield line.split()[1]
                return
        raise SystemExit("the service did not start; its message is above")
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    curves = {}
    began = time.monotonic()
    with service() as url, Client(url, key=(FOLDER / "api-key").read_text().strip()) as client:
        for name, (model, method) in RUNS.items():
            files = (str(DIGITS / model), str(DIGITS / "digits.npz"))
            job = follow(client, start(client, *files, method, settings={"name": name}, subset=INPUTS))
            save_results(client, job["id"], FOLDER / f"results-{name}.jsonl")
            curves[CERTIFIED[name]] = client.curve(job["id"])
            out.rule(f"{model}, {name}")
            if name == "smoothing":
                print_results(client.results(job["id"]))
            print_report(client, job)
        out.rule("both")
        out.print(plot(curves))
    out.print(f"\nDone in {time.monotonic() - began:.0f} s. The results: {FOLDER}/results-*.jsonl", soft_wrap=True)
    out.print("To keep a service up: make up. Then, in another terminal:")
    out.print("  .venv/bin/radii certify examples/digits/digits.onnx examples/digits/digits.npz --sigma 0.25")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of every `finally`
    try:
        main()
    except KeyboardInterrupt:
        err.print("interrupted; the service has ended")
        sys.exit(130)
    except ProblemError as problem:
        print_problem(problem)
        sys.exit(1)
    except ClientError as error:
        sys.exit(f"error: {error}")
