"""Lines as text and as JSON, each of what it is about."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from models import logs


@pytest.fixture
def lines() -> Iterator[Any]:
    """A logger, and what it wrote: as text, and as JSON."""
    streams = {"text": io.StringIO(), "json": io.StringIO()}
    logger = logging.getLogger("test-of-logs")
    logger.setLevel(logging.INFO)
    for form, stream in streams.items():
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logs.Json() if form == "json" else logging.Formatter(logs.TEXT))
        handler.addFilter(logs._About())
        logger.addHandler(handler)
    yield logger, lambda form: streams[form].getvalue().splitlines()
    logger.handlers.clear()


def test_a_line_names_the_attempt_and_its_parts(lines: Any) -> None:
    logger, written = lines
    with logs.about("cert_1/shd_2/3"):
        logger.info("begun %s", "now")
        with logs.about("mdl_1/4"):
            logger.info("read")
    logger.info("idle")
    assert [line.partition("test-of-logs: ")[2] for line in written("text")] == [
        "[cert_1/shd_2/3] begun now",
        "[mdl_1/4] read",
        "idle",
    ]
    shard, model, idle = map(json.loads, written("json"))
    assert (shard["attempt"], shard["job"], shard["shard"]) == ("cert_1/shd_2/3", "cert_1", "shd_2")
    assert (model["attempt"], model["job"], model.get("shard")) == ("mdl_1/4", "mdl_1", None)
    assert not {"attempt", "job", "shard", "request", "trace_id"} & idle.keys()


def test_a_line_names_the_request_and_has_what_it_was_given(lines: Any) -> None:
    logger, written = lines
    token = logs.request_id.set("abc")
    try:
        logger.info("GET", extra={"fields": {"status": 200}})
    finally:
        logs.request_id.reset(token)
    (line,) = map(json.loads, written("json"))
    assert (line["request"], line["status"], line["message"]) == ("abc", 200, "GET")
    assert "[request abc] GET" in written("text")[0]


def test_a_failure_is_one_line_with_its_traceback(lines: Any) -> None:
    logger, written = lines
    try:
        raise ValueError("of two\nlines")
    except ValueError:
        logger.exception("failed")
    (line,) = map(json.loads, written("json"))
    assert line["level"] == "ERROR" and "ValueError: of two\nlines" in line["exception"]
