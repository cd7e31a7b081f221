"""One real service for all: a remedy does not depend on the database."""

from collections.abc import Iterator

import httpx
import pytest

from tests.remedies.files import FLAT, dense, inputs, npz
from tests.remedies.obey import ready
from tests.service import Service, running


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("radii") / "data") as service:
        yield service


@pytest.fixture(scope="package")
def http(service: Service) -> Iterator[httpx.Client]:
    """A client with a key."""
    headers = {"Authorization": f"Bearer {service.key}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture(scope="package")
def model_id(http: httpx.Client) -> str:
    """A model of six numbers and three classes."""
    return ready(http, "models", dense(), input=FLAT)


@pytest.fixture(scope="package")
def dataset_id(http: httpx.Client) -> str:
    """Inputs for it."""
    return ready(http, "datasets", npz(x=inputs(), y=[0, 1, 2, 0]))
