"""Which problem a case provokes, and what of a remedy's text can be done by a machine."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np

from models.problems import Problem
from tests.service import until

Case = TypeVar("Case", bound=Callable[..., None])

OBEYED: set[Problem] = set()

# A literal call chain of NumPy on x, as messages print it.
LINE = re.compile(r"x = (x(?:\.(?:transpose|reshape|astype)\((?:len\(x\), )?[0-9a-z', ]+\)| / 255)+)")


def obeys(problem: Problem) -> Callable[[Case], Case]:
    """Marks a test that provokes ``problem``, follows its remedy, and sees that it works."""

    def marked(case: Case) -> Case:
        OBEYED.add(problem)
        return case

    return marked


def refused(answer: httpx.Response | dict[str, Any], problem: Problem) -> dict[str, Any]:
    """The problem document of an answer, or of a resource, which must be ``problem``."""
    document = answer.json() if isinstance(answer, httpx.Response) else answer["problem"]
    assert document["type"] == f"/problems/{problem.slug}", document
    assert document["detail"] and document["remedy"]
    return dict(document)


def rearranged(said: str, x: np.ndarray) -> np.ndarray:
    """``x`` after the first line of NumPy in a message."""
    found = LINE.search(said)
    assert found, said
    made = eval(found[1], {"__builtins__": {}, "len": len, "x": x})  # of radii's own text, and no other
    assert isinstance(made, np.ndarray)
    return made


def in_python(code: str, folder: Path) -> None:
    """Run ``code`` in a process of its own (torch must not be in one that forks)."""
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, timeout=300)


def register(http: httpx.Client, noun: str, content: bytes, **fields: Any) -> httpx.Response:
    """The answer to a new model or data set of these bytes."""
    upload = http.post("/v1/uploads", content=content).raise_for_status().json()
    return http.post(f"/v1/{noun}", json={"upload_id": upload["id"], "name": "remedied", **fields})


def taken_in(http: httpx.Client, noun: str, content: bytes, **fields: Any) -> dict[str, Any]:
    """What intake made of it."""
    where = register(http, noun, content, **fields).raise_for_status().headers["location"]
    return until(lambda: http.get(where).json(), lambda resource: resource["state"] != "validating")


def ready(http: httpx.Client, noun: str, content: bytes, **fields: Any) -> str:
    """The id of what intake accepted."""
    resource = taken_in(http, noun, content, **fields)
    assert resource["state"] == "ready", resource["problem"]
    return str(resource["id"])


def ended(http: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """A certification once it has ended."""
    where = answer.raise_for_status().headers["location"]
    return until(lambda: http.get(where).json(), lambda job: job["state"] not in ("queued", "running"))
