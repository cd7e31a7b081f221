"""Questions of every method, all different, and what is compared of their answers."""

import random
from pathlib import Path
from typing import Any

import numpy as np

from radii.client import Client
from tests.workers.harness import EXAMPLES

Json = dict[str, Any]

UNSAID = {"answered_by", "other_noises", "seconds", "reused", "executor", "batch_size", "device", "worker", "log"}
"""What an answer may say otherwise after a fault: how it was come by, how long it took, what else was asked before."""


def questions(count: int, seed: int) -> list[Json]:
    """So many, each with the name of its network, `classifier` or `regressor`."""
    drawn = random.Random(seed)
    return [_question(drawn, number) for number in range(count)]


def _question(drawn: random.Random, number: int) -> Json:
    start = drawn.randrange(200)
    inputs = drawn.randint(2, 6)
    n = 2000 * drawn.randint(2, 12) + number  # so that no two are the same
    sigma = drawn.choice([0.12, 0.25, 0.5])
    methods: list[tuple[str, int, Json]] = [
        ("classifier", inputs, {"kind": "smoothing", "sigma": sigma, "n": n}),
        ("classifier", inputs, {"kind": "smoothing", "sigma": sigma, "n": n, "scores": "soft"}),
        ("classifier", inputs, {"kind": "smoothing", "sigma": sigma, "n": n, "mode": "decide", "target_radius": 0.3}),
        ("classifier", 10 * inputs, {"kind": "lipschitz"}),
        ("classifier", inputs, {"kind": "local", "effort": "quick"}),
        ("classifier", inputs, {"kind": "prediction", "sigma": sigma, "n": n}),
        ("regressor", 2, {"kind": "median", "sigma": sigma, "n": n, "radius": 0.01}),
        ("classifier", inputs, {"kind": "splitting", "sigma": sigma * (1 + number / 100)}),
    ]
    network, length, method = methods[number % len(methods)]
    return {"network": network, "method": method, "start": start + number, "stop": start + number + length}


class Asker:
    """Asks questions of a service by its client, as a pipeline would: what breaks off is asked again."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def prepare(self, folder: Path) -> None:
        """Send and register networks and inputs, and wait until they are ready. ``folder``: for files."""
        with np.load(EXAMPLES / "digits.npz") as file:  # in 8 bits, which splitting takes
            np.savez(
                folder / "digits.npz", x=(file["x"] * 255).round().astype(np.float32) / np.float32(255), y=file["y"]
            )
        digits = EXAMPLES / "digits.onnx"
        shape: Json = {"shape": (1, 8, 8)}
        made = {
            "classifier": self.client.create_model(digits, **shape),
            "regressor": self.client.create_model(digits, **shape, task="regressor"),
        }
        self.networks = {name: self.client.wait(model)["id"] for name, model in made.items()}
        self.dataset = self.client.wait(self.client.create_dataset(folder / "digits.npz"))["id"]

    def ask(self, question: Json) -> Json:
        """The certification of a question."""
        part = slice(question["start"], question["stop"], None)
        return self.client.create_certification(
            self.networks[question["network"]], self.dataset, question["method"], subset=part
        )

    def answer(self, certification: Json) -> Json:
        """What is compared of one that has ended: its state, how much was done, and every result."""
        done = certification["progress"]["done"] == certification["progress"]["total"]
        results = [_said(row) for row in self.client.results(certification["id"])]
        own = {"state": certification["state"], "problem": certification["problem"], "done": done}
        return {**own, "results": results}


def _said(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: _said(value) for key, value in document.items() if key not in UNSAID}
    return [_said(value) for value in document] if isinstance(document, list) else document
