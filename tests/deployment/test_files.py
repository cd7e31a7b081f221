"""Dockerfile, docker-compose.yml and .env.example against the code: every variable, command and path in them exists."""

import ast
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from models.settings import Settings
from models.work import NOUNS
from radii.cli.up import worker_command

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(COMPOSE_TEXT)
ENV_EXAMPLE = dict(
    line.split("=", 1) for line in (ROOT / ".env.example").read_text().splitlines() if line and line[0] != "#"
)
ENV_TO_FILL = dict(
    line.split("=", 1)
    for line in (ROOT / ".env.example").read_text().partition("# ----")[0].splitlines()
    if line and line[0] != "#"
)
SETTINGS = {f"RADII_{name.upper()}" for name in Settings.model_fields}
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def dockerfile_stages() -> dict[str, tuple[str, str]]:
    """stage -> (the stage or image it stands on, its text)."""
    parts = re.split(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)[1:]
    return {name: (parent, body) for parent, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}


def commands() -> list[list[str]]:
    """Every command that our containers run."""
    found = [ast.literal_eval(text) for text in re.findall(r"^CMD (\[.*\])$", DOCKERFILE, flags=re.MULTILINE)]
    return found + [service["command"] for service in OURS.values() if "command" in service]


def test_every_radii_variable_is_a_setting() -> None:
    text = DOCKERFILE + COMPOSE_TEXT + "\n".join(ENV_EXAMPLE)
    assert set(re.findall(r"\bRADII_[A-Z_]+\b", text)) <= SETTINGS


def test_env_example_lists_exactly_what_compose_asks_for() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+)", COMPOSE_TEXT)) | {s["environment"] for s in COMPOSE["secrets"].values()}
    assert asked | {"COMPOSE_PROFILES"} == set(ENV_EXAMPLE)


def test_every_setting_can_be_set_from_the_environment_file() -> None:
    """But for what compose itself decides: where things are in containers, and how many workers (--scale)."""
    own = {"HOST", "DATA_DIR", "DATABASE_URL", "BROKER_URL", "FIRST_KEY_FILE", "WORKERS"}
    assert {f"RADII_{name}" for name in own} <= SETTINGS
    assert SETTINGS - {f"RADII_{name}" for name in own} == set(ENV_EXAMPLE) & SETTINGS
    passed = set(COMPOSE["x-environment"]) & SETTINGS
    assert SETTINGS - passed == {f"RADII_{name}" for name in ("HOST", "PORT", "DATA_DIR", "FIRST_KEY_FILE", "WORKERS")}


def test_what_compose_requires_is_left_empty_in_the_example_and_the_rest_is_the_default() -> None:
    required = set(re.findall(r"\$\{([A-Z_]+):\?", COMPOSE_TEXT))
    # The first key is asked for by its secret.
    assert {name for name, value in ENV_TO_FILL.items() if not value} == required | {"FIRST_KEY"}
    for name, default in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", COMPOSE_TEXT):
        assert ENV_EXAMPLE[name] == default
        if name in SETTINGS:
            known = Settings.model_fields[name.removeprefix("RADII_").lower()].default
            assert ("" if known is None else str(known).lower()) == default.lower()


def test_the_example_gives_valid_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    filled = ENV_EXAMPLE | {"FIRST_KEY": "k" * 32, "RADII_NOISE_SECRET": "ab" * 32, "POSTGRES_PASSWORD": "x"}
    for name, value in COMPOSE["x-environment"].items():
        value = re.sub(r"\$\{([A-Z_]+)[^}]*\}", lambda match: filled[match[1]], value)
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.database.startswith("postgresql+psycopg://radii:x@postgres")
    assert settings.broker == "redis://redis:6379/0"


def test_onnxruntime_reports_to_nobody() -> None:
    _, base = dockerfile_stages()["base"]
    assert "ORT_DISABLE_TELEMETRY=1" in base.split()
    assert COMPOSE["x-environment"]["ORT_DISABLE_TELEMETRY"] == "1"


def test_build_targets_exist() -> None:
    stages = dockerfile_stages()
    assert {"api", "worker", "worker-gpu"} <= set(stages)
    for service in OURS.values():
        assert service["build"]["target"] in stages


@pytest.mark.parametrize("path", re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, flags=re.MULTILINE))
def test_copied_paths_exist(path: str) -> None:
    assert all((ROOT / part).exists() for part in path.split())


def _modules(command: list[str]) -> list[str]:
    text = " ".join(command)
    named = re.findall(r"-m (\S+)", text) + re.findall(r"-A (\S+)", text)
    return [*named, *re.findall(r"(\w+\.\w+):\w+ --factory", text)]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_commands_name_modules_that_exist(command: list[str]) -> None:
    modules = _modules(command)
    assert modules
    for module in modules:
        assert importlib.util.find_spec(module), module


def test_the_api_factory_exists() -> None:
    source = ast.parse((ROOT / "app" / "main.py").read_text())
    assert "create_app" in {node.name for node in source.body if isinstance(node, ast.FunctionDef)}


def test_workers_listen_to_every_queue_there_is() -> None:
    queues = {command[command.index("--queues") + 1] for command in commands() if "--queues" in command}
    assert queues == {noun.queue for noun in NOUNS.values()}


def test_workers_are_started_as_radii_worker_starts_them() -> None:
    """But for their names, which are those of containers, the log level, which is the log's own, and their logs."""
    of_command = [part for part in worker_command("certify", 1, "INFO")[1:] if part not in ("--loglevel", "INFO")]
    named = of_command.index("-n")
    for command in commands():
        if "certify" in command:
            assert command[1:] == of_command[:named] + of_command[named + 2 :]


def test_the_api_image_holds_no_torch_and_the_code_that_runs_in_it() -> None:
    stages = dockerfile_stages()
    _, body = stages["api"]
    copied = {name for name in ("app", "models", "radii", "migrations") if f"COPY {name} {name}" in body}
    assert copied == {"app", "models", "radii", "migrations"}
    assert "torch" not in body.lower()
    lock = (ROOT / "requirements-api.lock").read_text()
    assert not re.search(r"^(torch|numpy|scipy|onnx)\b", lock, flags=re.MULTILINE)


def test_the_gpu_image_can_compile_kernels() -> None:
    """Triton compiles C, against the C library's headers, which gcc alone does not bring."""
    stages = dockerfile_stages()
    _, body = stages["worker-gpu"]
    (install,) = re.findall(r"apt-get install (.*?) &&", body)
    assert {"gcc", "libc6-dev"} <= set(install.split())
    assert re.findall(r"^USER (\S+)$", body, flags=re.MULTILINE)[-1] == "radii"


def test_kernels_are_tested_with_the_triton_that_the_makefile_names() -> None:
    names = set(re.findall(r"^TRITON_SPEC \?= (\S+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert names == {f"{package}=={version}" for package, (version,) in pins("requirements-triton.lock").items()}


def pins(name: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([a-z0-9-]+)(?:\[\S+\])?==(\S+)", (ROOT / name).read_text(), re.MULTILINE):
        found.setdefault(package, set()).add(version)
    return found


@pytest.mark.parametrize("name", ["requirements-api.lock", "requirements-worker.lock"])
def test_image_locks_are_parts_of_the_one_that_is_tested(name: str) -> None:
    everything = pins("requirements.lock")
    part = pins(name)
    assert part
    assert all(versions <= everything[package] for package, versions in part.items())


def test_locks_hold_hashes_and_no_torch() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        blocks = re.findall(
            r"^[a-z0-9-]+(?:\[\S+\])?==.*?(?=^[a-z0-9-]|\Z)", lock.read_text(), re.MULTILINE | re.DOTALL
        )
        assert blocks
        assert all("--hash=sha256:" in block for block in blocks)
        no = r"(torch|nvidia|cuda)" if lock.name == "requirements-triton.lock" else r"(torch|nvidia|triton|cuda)"
        assert not any(re.match(no, block) for block in blocks)


def test_published_ports_and_volumes_fit() -> None:
    volumes: dict[str, Any] = COMPOSE["volumes"]
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in volumes
    assert all("/var/lib/radii" in volume for service in OURS.values() for volume in service["volumes"])


def test_only_the_proxy_is_published_beyond_this_machine() -> None:
    for name, service in SERVICES.items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:") or name == "proxy", name


def test_every_container_is_bounded_named_restarted_and_its_log_rotated() -> None:
    for name, service in SERVICES.items():
        assert service["mem_limit"] and service["image"] and service["restart"] == "unless-stopped", name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}, name
    for name, service in OURS.items():
        assert service["healthcheck"]["test"][0] == "CMD", name


def test_gpus_have_a_worker_each_and_no_worker_on_cpus_beside_them() -> None:
    def started(*profiles: str) -> set[str]:
        return {name for name, s in SERVICES.items() if not s.get("profiles") or set(s["profiles"]) & set(profiles)}

    always = {"api", "intake", "postgres", "redis"}
    assert started() == always
    assert started(ENV_EXAMPLE["COMPOSE_PROFILES"]) == always | {"worker"}
    assert started("gpu") == always | {"worker-gpu"}
    assert started("two-gpus", "monitoring") == always | {"worker-gpu", "worker-gpu-1", "prometheus", "grafana"}
    devices = [
        service["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
        for name, service in SERVICES.items()
        if name.startswith("worker-gpu")
    ]
    assert devices == [["0"], ["1"]]


def test_the_build_takes_torch_from_where_the_environment_says() -> None:
    (default,) = re.findall(r"^ARG TORCH_SPEC=(\S+)$", DOCKERFILE, flags=re.MULTILINE)
    assert ENV_EXAMPLE["TORCH_SPEC"] == default
    for service in OURS.values():
        if service["build"]["target"].startswith("worker"):
            assert set(service["build"]["args"]) == {"TORCH_SPEC", "PIP_EXTRA_INDEX_URL"}


def test_the_first_key_comes_from_a_secret_that_prometheus_shows_too() -> None:
    (name,) = COMPOSE["secrets"]
    assert SERVICES["api"]["environment"]["RADII_FIRST_KEY_FILE"] == f"/run/secrets/{name}"
    assert name in SERVICES["api"]["secrets"] and name in SERVICES["prometheus"]["secrets"]
    scrape = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"][0]
    assert scrape["authorization"]["credentials_file"] == f"/run/secrets/{name}"


def test_compose_is_what_the_specification_allows() -> None:
    """By a parser of the Compose Specification, after the variables are filled in."""
    filled = ENV_EXAMPLE | {"RADII_NOISE_SECRET": "ab" * 32, "POSTGRES_PASSWORD": "x"}
    text = re.sub(r"\$\{([A-Z_]+)[^}]*\}", lambda match: filled[match[1]], COMPOSE_TEXT)
    plain = yaml.safe_load(text)
    compose = compose_spec.PyCompose.from_json(json.dumps({k: v for k, v in plain.items() if k[:2] != "x-"}))
    compose.validate()
    assert set(compose.service_names()) == set(SERVICES)
