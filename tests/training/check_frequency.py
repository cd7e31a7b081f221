"""``frequency.json``: how many frequencies bands hold, what layers pass of them, and Shapley values."""

from collections.abc import Iterator
from typing import Any

import torch

from radii.diagnostics.bands import Bands
from radii.diagnostics.first_layer import circular_norms, matrix_norms
from radii.diagnostics.shapley import shapley
from tests.training.check_curvature import tensor


def differences(values: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    for name, expected in values["sizes"].items():
        size, bands = name.split("/")
        found = Bands([int(n) for n in size.split("x")], int(bands)).sizes
        for band, (one, two) in enumerate(zip(found, expected, strict=True)):
            yield f"sizes {name} band {band}", float(one), float(two)
    yield from _linear(values["linear"])
    conv = values["conv"]
    norms = circular_norms(tensor(conv["K"]), Bands((conv["n"], conv["n"]), len(conv["band_norms"])))
    for band, value in enumerate(conv["band_norms"]):
        yield f"conv band {band}", norms[band], value
    for i, game in enumerate(values["shapley"]):
        phi = shapley(tensor(game["values"]))
        for player, value in enumerate(game["phi"]):
            yield f"shapley {i} player {player}", float(phi[player]), value


def _linear(case: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    rows = tensor(case["W"]).reshape(-1, 1, case["h"], case["w"])
    norms = matrix_norms(rows, Bands((case["h"], case["w"]), case["m"]))
    for band, value in enumerate(case["band_norms"]):
        yield f"linear band {band}", norms[band], value
    yield "linear norm", float(torch.linalg.matrix_norm(rows.flatten(1), 2)), case["norm"]
