"""A real service, API and workers, as those see it who operate it: its log as JSON, its traces at a collector, its
figures, its workers by command."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from tests.deployment.test_monitoring import queried
from tests.service import Service, running, stop, until
from tests.workers.harness import EXAMPLES


@dataclass
class Span:
    """A span that arrived."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, str]


@dataclass
class Collector:
    """Takes spans over OTLP/HTTP."""

    url: str
    spans: list[Span] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            (service,) = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    attributes = {a.key: a.value.string_value for a in span.attributes}
                    ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
                    self.spans.append(Span(service, span.name, *ids, attributes))


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """A collector that is there."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Collector(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@dataclass
class Seen:
    """What a service left behind that has worked on one certification, and ended."""

    job: str
    model: str
    request: str  # the id of the one that made the certification
    metrics: str
    workers: list[dict[str, Any]]
    shown: str  # by the command
    lines: dict[str, list[str]]  # of each log
    spans: list[Span]
    tiny: list[str]  # jobs that workers take together


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Seen:
    folder = tmp_path_factory.mktemp("seen") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        with running(folder, "--log-format", "json", "--lease-seconds", "2") as service:
            job, model, request = _certified(service)
            tiny = _tiny(service, job)
            metrics = httpx.get(f"{service.url}/metrics", timeout=30)
            workers = until(lambda: _workers(service), lambda found: any(one["device"] for one in found))
            command = [sys.executable, "-m", "radii.cli", "workers"]
            shown = subprocess.run(command, env=service.environment(), capture_output=True, text=True, check=True)
            stop(service)
    logs = {log.stem: log.read_text().splitlines() for log in (folder / "logs").glob("*.log")}
    return Seen(job, model, request, metrics.text, workers, shown.stdout, logs, collector.spans, tiny)


def _certified(service: Service) -> tuple[str, str, str]:
    with service.client() as client:
        model = client.wait(client.create_model(EXAMPLES / "digits.onnx", shape=[1, 8, 8])["id"])["id"]
        data = client.wait(client.create_dataset(EXAMPLES / "digits.npz")["id"])["id"]
        method = {"kind": "smoothing", "sigma": 0.25, "n": 20_000}
        answer = httpx.post(
            f"{service.url}/v1/certifications",
            json={"model_id": model, "dataset_id": data, "method": method, "subset": {"stop": 20}},
            headers={"Authorization": f"Bearer {service.key}"},
            timeout=30,
        )
        job = answer.json()["id"]
        until(lambda: _beaten(service), bool)
        assert client.wait(job)["state"] == "succeeded"
        return job, model, answer.headers["X-Request-Id"]


def _tiny(service: Service, job: str) -> list[str]:
    with service.client() as client:
        row, method = client.get(job), {"kind": "smoothing", "sigma": 0.25, "n": 1000, "cross_check": 0}
        asked = partial(client.create_certification, row["model_id"], row["dataset_id"], method)
        made = [asked(subset=slice(i, i + 1)) for i in range(30, 38)]
        return [client.wait(one)["id"] for one in made]


def _beaten(service: Service) -> list[dict[str, Any]]:
    return [one for one in _workers(service) if one["device"]]


def _workers(service: Service) -> list[dict[str, Any]]:
    with service.client() as client:
        return list(client.workers())


def test_every_line_of_every_process_is_json_and_names_what_it_is_about(seen: Seen) -> None:
    assert {"api", "certify", "intake"} <= seen.lines.keys()
    shutdown = ("", "worker: Warm shutdown (MainProcess)")  # Celery writes it past all logging, in a signal's handler
    for written in seen.lines.values():
        written[:] = [line for line in written if line not in shutdown]
    strange = [line[:300] for name in ("api", "certify", "intake") for line in seen.lines[name] if line[:1] != "{"]
    assert strange == [], "\n".join(strange)
    parsed = {name: [json.loads(line) for line in seen.lines[name]] for name in ("api", "certify", "intake")}
    for lines in parsed.values():
        assert lines
        for line in lines:
            assert {"time", "level", "logger", "message", "process"} <= line.keys()
    (made,) = [line for line in parsed["api"] if line.get("request") == seen.request]
    assert (made["method"], made["route"], made["status"], made["key"]) == ("POST", "/v1/certifications", 202, "first")
    assert 0 < made["seconds"] < 60 and made["trace_id"]
    of_job = [line for line in parsed["certify"] if line.get("job") == seen.job]
    assert {line["message"].split()[0] for line in of_job} >= {"begun", "done"}
    shards = [line for line in of_job if "shard" in line]
    assert shards and all(line["attempt"] == f"{seen.job}/{line['shard']}/1" for line in shards)
    assert [line for line in parsed["intake"] if line.get("job") == seen.model]
    assert any(line["logger"].startswith("celery") for line in parsed["certify"])  # its own lines, too
    assert any(line["logger"] == "uvicorn.error" for line in parsed["api"])


def _request(seen: Seen) -> Span:
    """The one that made the first certification; those of the tiny ones came later."""
    (shard, *_) = [span for span in seen.spans if span.attributes.get("radii.job") == seen.job and span.name == "shard"]
    (request,) = [span for span in seen.spans if span.name == "POST /v1/certifications" and span.trace == shard.trace]
    return request


def test_a_trace_goes_from_the_request_through_the_message_into_the_worker(seen: Seen) -> None:
    request = _request(seen)
    assert request.service == "radii-api"
    trace = [span for span in seen.spans if span.trace == request.trace]
    shards = [span for span in trace if span.name == "shard"]
    assert shards and {span.attributes["radii.job"] for span in shards} == {seen.job}
    assert {(span.service, span.parent) for span in shards} == {("radii-worker", request.id)}
    (model,) = [span for span in seen.spans if span.name == "POST /v1/models"]
    assert [span.name for span in seen.spans if span.trace == model.trace and span.service == "radii-worker"] == [
        "model"
    ]


def test_each_of_the_jobs_that_are_worked_on_together_has_a_span(seen: Seen) -> None:
    assert set(seen.tiny) <= {span.attributes.get("radii.job") for span in seen.spans if span.name == "shard"}


def test_lines_of_the_worker_name_the_trace_of_the_request(seen: Seen) -> None:
    request = _request(seen)
    lines = [json.loads(line) for line in seen.lines["certify"] if line[:1] == "{"]
    assert request.trace in {line.get("trace_id") for line in lines if line.get("job") == seen.job}


def test_what_the_dashboard_asks_for_is_what_a_service_tells(seen: Seen) -> None:
    there = {sample.name for family in text_string_to_metric_families(seen.metrics) for sample in family.samples}
    there |= {family.name for family in text_string_to_metric_families(seen.metrics)}
    needs_events = {"radii_failed", "radii_leases_lapsed_total"}  # of which this service has had none
    assert queried() - there <= needs_events


def test_workers_are_listed_by_command(seen: Seen) -> None:
    assert {tuple(one["queues"]) for one in seen.workers} == {("certify",), ("intake",)}
    (computing,) = [one for one in seen.workers if one["device"]]
    assert computing["device"] == "cpu" and computing["memory"] > 0
    for one in seen.workers:
        assert one["name"] in seen.shown
    assert "idle" in seen.shown


def test_telemetry_that_is_not_asked_for_is_not_there(tmp_path: Path) -> None:
    program = """
import sys
from models import tracing
tracing.configure("x")
assert tracing.traceparent() is None
assert not [name for name in sys.modules if name.startswith("opentelemetry.sdk")]
"""
    subprocess.run([sys.executable, "-c", program], check=True)
