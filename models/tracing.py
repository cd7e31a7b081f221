"""Traces (OpenTelemetry): from a request through the bell that it rang into the worker that heard it.

Nothing is recorded unless the extra ``otel`` is installed and OTEL_EXPORTER_OTLP_ENDPOINT says where to send it, over
OTLP/HTTP; the SDK's other variables hold too (OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, ...). FastAPI makes the span of a
request itself. A bell that the sweeper rings again begins a trace of its own: rows know of none.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
HEADER = "traceparent"  # W3C Trace Context
_PROPAGATOR = TraceContextTextMapPropagator()

_provider: Any = None


def configure(service: str) -> None:
    """Have this process, which is such a ``service``, send its spans, if that is asked for. Again is no matter."""
    global _provider
    if _provider is not None or not wanted():
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        log.warning("nothing is traced, for a package is missing (%s): pip install 'radii[otel]'", error)
        return
    name = os.environ.get("OTEL_SERVICE_NAME") or service
    _provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(_provider)


def wanted() -> bool:
    """Whether the environment says where spans go."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    off = off or os.environ.get("OTEL_TRACES_EXPORTER", "").lower() == "none"
    return not off and any(os.environ.get(name) for name in ENDPOINTS)


def close() -> None:
    """Send what has not been sent: the process ends."""
    if _provider is not None:
        _provider.shutdown()


def traceparent() -> str | None:
    """What is under way here, for a message to take along; None where nothing is traced."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(HEADER)


@contextmanager
def following(parent: str | None) -> Iterator[None]:
    """What the block does goes on from what a message brought along."""
    if parent is None:
        yield
        return
    token = context.attach(_PROPAGATOR.extract({HEADER: parent}))
    try:
        yield
    finally:
        context.detach(token)


@contextmanager
def span(name: str, **attributes: str | int) -> Iterator[None]:
    """The block is a span of that name; attributes are of radii."""
    named = {f"radii.{key}": value for key, value in attributes.items()}
    tracer = trace.get_tracer("radii")
    with tracer.start_as_current_span(name, kind=SpanKind.CONSUMER, attributes=named):
        yield
