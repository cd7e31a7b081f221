"""The dashboard, the alerts and the scrape configuration against what /metrics tells (tests/test_seen_from_outside.py
has a real service tell it)."""

import json
import re
from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry

from app import metrics as api
from models import metrics as work
from models.problems import Problem
from models.repositories.figures import Figures
from models.work import NOUNS

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy/grafana/radii.json").read_text())
ALERTS = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
SCRAPE = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())

NO_METRIC = {"by", "without", "on", "and", "or", "vector", "sum", "max", "min", "rate", "increase", "absent"}
NO_METRIC |= {"histogram_quantile"}


def expressions() -> list[str]:
    shown = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return shown + [rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]]


def names(expression: str) -> set[str]:
    """The metrics that a PromQL expression asks for."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", "", expression)
    bare = re.sub(r"\b(by|without|on)\s*\([^)]*\)", "", bare)
    return set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", bare)) - NO_METRIC


def queried() -> set[str]:
    """All metrics that the dashboard and the alerts ask for."""
    return set().union(*map(names, expressions()))


def told() -> set[str]:
    """Names of all samples that /metrics may tell."""
    registry = CollectorRegistry()
    registry.register(api.HTTP)
    registry.register(api.FromDatabase(lambda: Figures([], 0, {}, [])))
    found = set()
    for source in (registry, work.WORK):
        for family in source.collect():
            suffixes = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}.get(family.type, ("",))
            found |= {family.name + suffix for suffix in suffixes}
    return found


def stem(name: str) -> str:
    """What the samples of a histogram have in common."""
    return re.sub(r"_(bucket|sum|count)$", "", name)


def test_names_are_found_in_expressions() -> None:
    assert names('histogram_quantile(0.9, sum by (le, a) (rate(x_bucket{y="z_total"}[5m]))) > 0 or b_total') == {
        "x_bucket",
        "b_total",
    }


def test_every_metric_that_is_asked_for_is_told() -> None:
    assert len(queried()) > 15
    assert queried() - told() == set()


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    assert {stem(name) for name in told() if name.startswith("radii_")} - set(map(stem, queried())) == set()


def test_labels_and_values_that_are_asked_for_exist() -> None:
    text = " ".join(expressions())
    assert set(re.findall(r'kind="(\w+)"', text)) <= set(NOUNS)
    asked = set(re.search(r'problem=~"([^"]+)"', text)[1].split("|"))  # type: ignore[index]
    assert asked <= {problem.slug for problem in Problem}
    assert SCRAPE["scrape_configs"][0]["job_name"] == "radii" and 'job="radii"' in text


def test_panels_have_a_place_each() -> None:
    places = [tuple(panel["gridPos"][key] for key in ("x", "y")) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in DASHBOARD["panels"]})
