"""A folder of blobs that is not there, or another in its place: jobs wait, none fails, and no worker starts on it."""

from pathlib import Path
from typing import Any

import pytest

from models.bootstrap import bootstrap
from models.settings import Settings
from models.tables import Certification, Model
from tests.chaos.stores import Folder
from tests.workers.answers import done, said, truth
from tests.workers.harness import EXAMPLES, Service, wait_for

pytestmark = pytest.mark.parametrize("empty_database_url", ["sqlite"], indirect=True)  # the same on both

SHORT: dict[str, Any] = {"kind": "smoothing", "sigma": 0.25, "n": 2500}
IS_AWAY = "none of the files that this database names: it is not mounted"


def test_jobs_wait_for_a_disk_that_is_not_mounted(service: Service, digits: tuple[str, str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    worker = service.start(log)
    done(service, service.certify(*digits, 1, kind="smoothing", sigma=0.5, n=2500))
    model = service.add_model((EXAMPLES / "digits-lipschitz.onnx").read_bytes())
    assert service.wait(Model, model, "ready", "rejected").state == "ready"
    with Folder(service.blobs.root).away():
        job = service.certify(*digits, 2, **SHORT)
        bound = service.certify(model, digits[1], 3, kind="lipschitz")
        wait_for(lambda: IS_AWAY in log.read_text())
        assert {str(service.get(Certification, row).state) for row in (job, bound)} <= {"queued", "running"}
    for row in (job, bound):
        done(service, row)
        assert service.get(Certification, row).state == "succeeded"
    assert said(service, job) == truth(2, SHORT["n"])
    assert worker.poll() is None


def test_a_worker_with_another_folder_of_blobs_is_refused(
    service: Service, digits: tuple[str, str], tmp_path: Path
) -> None:
    service.start(tmp_path / "log")
    done(service, service.certify(*digits, 1, **SHORT))
    mark = service.blobs.mark()
    other = Settings(data_dir=tmp_path / "other", noise_secret=service.settings.noise_secret)
    for name, problem in (("empty", IS_AWAY), ("other", "another installation's: its mark, `installation`, says ")):
        if name == "other":
            bootstrap(other)
        service.settings = service.settings.model_copy(update={"data_dir": tmp_path / name})
        refused = service.start(tmp_path / f"{name}.log")
        assert refused.wait(timeout=90) == 1
        assert problem in (tmp_path / f"{name}.log").read_text()
    assert service.blobs.mark() == mark
