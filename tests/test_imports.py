"""What a part of the house may need: shown in an interpreter in which nothing else can be imported."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest

# Distributions, with what they themselves need.
NUMERICS = {
    "torch",
    "numpy",
    "scipy",
    "typing-extensions",
    "sympy",
    "mpmath",
    "networkx",
    "jinja2",
    "filelock",
    "fsspec",
}
PYDANTIC = {"pydantic", "pydantic-core", "annotated-types", "typing-extensions", "typing-inspection"}

ALONE = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Without())
import {module}
print(*sorted({{"torch", "numpy", "pydantic"}} & set(sys.modules)))
"""


def imported_alone(module: str, allowed: set[str]) -> str:
    """Import ``module`` where no other distribution can be; which of torch, numpy and pydantic it took."""
    owners = packages_distributions().items()
    names = {re.sub(r"[-_.]+", "-", name).lower() for name in allowed | {"radii"}}
    forbidden = {top for top, owner in owners if not {re.sub(r"[-_.]+", "-", o).lower() for o in owner} & names}
    program = ALONE.format(forbidden=forbidden, module=module)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "module",
    [
        "radii.graph",
        "radii.lipschitz",
        "radii.smoothing.sampling",
        "radii.attacks",
        "radii.layers",
        "radii.training",
        "radii.diagnostics",
    ],
)
def test_the_numerics_need_torch_numpy_and_scipy_alone(module: str) -> None:
    assert "torch" in imported_alone(module, NUMERICS)


def test_methods_need_pydantic_alone() -> None:
    assert imported_alone("radii.methods", PYDANTIC) == "pydantic"


def test_radii_alone_needs_nothing() -> None:
    assert imported_alone("radii", set()) == ""


def test_checking_a_radius_needs_no_torch() -> None:
    assert imported_alone("radii.smoothing.radius", {"numpy", "scipy"}) == "numpy"
