"""The example for Kubernetes: what the API server would take, and what fits together."""

import importlib.util
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from sqlalchemy import text

from models.blob_stores import stored
from models.database import Database
from models.remote_blobs import RemoteBlobs
from models.settings import Settings, private_folder
from tests import factories
from tests.s3 import Bucket

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
OBJECTS = [(file.name, one) for file in sorted(FOLDER.glob("*.yaml")) for one in yaml.safe_load_all(file.read_text())]
PODS = [
    (one["metadata"]["name"], one["spec"]["template"]["spec"])
    for _, one in OBJECTS
    if one["kind"] in ("Deployment", "Job")
]
OTHERS = {"keda.sh/v1alpha1"}  # of no schema here
SETTINGS = {f"RADII_{name.upper()}" for name in Settings.model_fields}


AWS = {
    name for name in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["x-environment"] if name[:4] == "AWS_"
}


def of_kind(kind: str) -> list[Any]:
    return [one for _, one in OBJECTS if one["kind"] == kind]


@pytest.mark.parametrize(("file", "document"), OBJECTS, ids=lambda one: one if isinstance(one, str) else one["kind"])
def test_each_object_is_valid(file: str, document: Any) -> None:
    if document["apiVersion"] not in OTHERS:
        kubernetes_validate.validate(document, "1.31", strict=True)
    assert document["metadata"]["name"]


def test_what_pods_refer_to_is_there() -> None:
    (secret,), (config,), (claim,) = of_kind("Secret"), of_kind("ConfigMap"), of_kind("PersistentVolumeClaim")
    for name, pod in PODS:
        (container,) = pod["containers"]
        for variable in container["env"]:
            assert variable["name"] in SETTINGS | AWS
            if "valueFrom" in variable:
                reference = variable["valueFrom"]["secretKeyRef"]
                assert reference["name"] == secret["metadata"]["name"] and reference["key"] in secret["stringData"], (
                    name
                )
        assert container["envFrom"] == [{"configMapRef": {"name": config["metadata"]["name"]}}]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        assert volumes["data"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert "memory" in container["resources"]["limits"], name
        module = container["command"][container["command"].index("-m") + 1]
        assert importlib.util.find_spec(module)
    assert {name for name in config["data"] if name.startswith("RADII_")} <= SETTINGS
    assert len(PODS) == 4


def test_every_pod_may_use_a_store_and_credentials_are_secret() -> None:
    (secret,), (config,) = of_kind("Secret"), of_kind("ConfigMap")
    for name, pod in PODS:
        (container,) = pod["containers"]
        secretly = {one["name"] for one in container["env"] if "secretKeyRef" in one.get("valueFrom", {})}
        assert secretly >= {"RADII_DATABASE_URL", "RADII_BROKER_URL", "RADII_NOISE_SECRET"}, name
        assert secretly & AWS == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}, name
        assert secretly & AWS | set(config["data"]) & AWS == AWS
    assert "RADII_BLOB_URL" in config["data"]
    assert all(secret["stringData"][key] == "" for key in ("noise-secret", "first-key", "aws-secret-access-key"))


@pytest.mark.parametrize("filled", [True, False])
def test_pods_find_the_store_that_the_example_names(
    filled: bool, monkeypatch: pytest.MonkeyPatch, bucket: Bucket, tmp_path: Path
) -> None:
    """What the pods are told opens a real store, with the credentials that it wants; left empty it means a folder."""
    (secret,), (config,) = of_kind("Secret"), of_kind("ConfigMap")
    (container,) = PODS[0][1]["containers"]
    told = {**config["data"], "RADII_DATA_DIR": str(tmp_path / "data")}
    told |= {one["name"]: secret["stringData"][one["valueFrom"]["secretKeyRef"]["key"]] for one in container["env"]}
    for name, value in (told | (bucket.variables | {"RADII_BLOB_URL": bucket.url} if filled else {})).items():
        monkeypatch.setenv(name, value)
    private_folder(tmp_path / "data")
    store = stored(Settings())
    assert isinstance(store, RemoteBlobs) is filled
    assert store.check() == "ok"


def test_services_and_selectors_meet_their_pods() -> None:
    labels = {one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"] for one in of_kind("Deployment")}
    for one in of_kind("Deployment"):
        assert one["spec"]["selector"]["matchLabels"] == labels[one["metadata"]["name"]]
    for one in of_kind("Service"):
        assert one["spec"]["selector"] in labels.values()
    assert of_kind("PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"] in labels.values()


def test_workers_scale_by_what_there_is_to_compute(database: Database) -> None:
    """The query, asked of a real database, counts shards that are open and certifications that are not wholly cut."""
    (scaled,) = of_kind("ScaledObject")
    target = scaled["spec"]["scaleTargetRef"]["name"]
    (worker,) = [one for one in of_kind("Deployment") if one["metadata"]["name"] == target]
    assert "replicas" not in worker["spec"]  # two would say how many there are
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["authenticationRef"]["name"] == of_kind("TriggerAuthentication")[0]["metadata"]["name"]
    with database.write() as session:
        assert session.scalar(text(trigger["metadata"]["query"])) == 0
        job = factories.certification(session, inputs=6, shard_inputs=2)
        assert session.scalar(text(trigger["metadata"]["query"])) == 3
        job.unsharded = 100
        session.flush()
        assert session.scalar(text(trigger["metadata"]["query"])) == 4
