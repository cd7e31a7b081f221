"""No problem without a case: each is provoked and its remedy obeyed, or it is said why it has none to obey."""

import importlib
import pkgutil

from models.problems import Problem
from tests import remedies
from tests.remedies.obey import OBEYED

REPORT = "a bug in radii: what is asked for is a report"
WITHOUT = {
    Problem.COUNTS_MISMATCH: REPORT,
    Problem.CONTRADICTED: REPORT,
    Problem.INTERNAL_ERROR: REPORT,
    Problem.BROKEN_NOISE: "no processor here draws another law (a sigma that would is refused)",
    Problem.WORKER_LOST: "the process was killed from outside: the remedy is to find out by whom, or a larger machine",
    Problem.STALLED: "the process was stopped from outside, or a GPU hangs: the remedy is to look there",
    Problem.NETWORK_FAILED: "no network that intake accepts is known to fail: what is asked for is a report",
    Problem.OUT_OF_MEMORY: "the remedy is a larger machine, or a setting that bounds a batch, which always helps less",
}


def test_each_problem_has_a_case_or_a_reason() -> None:
    for module in pkgutil.iter_modules(remedies.__path__):
        importlib.import_module(f"{remedies.__name__}.{module.name}")
    assert OBEYED.isdisjoint(WITHOUT)
    assert OBEYED | WITHOUT.keys() == set(Problem)
