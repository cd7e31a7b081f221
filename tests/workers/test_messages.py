"""Messages between supervisor and runner: what was said is what is heard."""

import io
from pathlib import Path

import pytest

from models.counts import ChunkCounts, InputResult
from tests.workers import orders
from workers.messages import (
    KINDS,
    Alive,
    Crash,
    Done,
    Enough,
    Failure,
    Message,
    NetworkFiles,
    On,
    Phase,
    Proposal,
    Report,
    Settled,
    Stopped,
    decoded,
    encoded,
)
from workers.runner.__main__ import sayer

NETWORK = NetworkFiles({"input": {"range": [0.0, 1.0]}}, "model.onnx", {"weights": "w.bin"}, "0" * 64)
CHUNK = ChunkCounts(3, "estimate", 7, [900, 90, 10], {"mean": [0.1, 0.25]})
EACH: list[Message] = [
    orders.order(Path("x.npy"), 2, NETWORK, {"kind": "smoothing"}, chunks=[CHUNK], denoiser=NETWORK),
    orders.order(Path("x.npy"), 1, NETWORK, {"kind": "lipschitz"}),
    Settled({"executor": "torch", "batch_size": 100}),
    CHUNK,
    InputResult(3, None, 1, 0.1 + 0.2, False, {"n": 1000, "text": "a line\nand \u2028 another"}),
    Report({"layers": []}),
    Proposal({"executor": "torch", "batch_size": 100}),
    Phase("sampling"),
    Alive(),
    Crash("ValueError: no"),
    On("cpu, AVX2"),
    Enough(),
    Stopped(),
    Done(),
    Failure({"type": "/problems/internal-error"}),
]


def test_what_was_said_is_what_is_heard() -> None:
    assert {type(message) for message in EACH} == set(KINDS.values())
    for message in EACH:
        line = encoded(message)
        assert line.count("\n") == 1 and line.endswith("\n")
        assert decoded(line.encode()) == message


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_not_said(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        encoded(InputResult(3, None, 1, number, False, {}))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        '{"word": {}}',
        '{"chunk": {"index": 1}}',
        "7",
        '{"done": []}',
        '{"done": {}, "alive": {}}',
    ],
)
def test_what_is_no_message_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        decoded(line)


class Written(io.StringIO):
    """What was written, one item a time that the reader is woken."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[list[Message]] = []

    def write(self, text: str) -> int:
        self.times.append([decoded(line) for line in text.splitlines()])
        return len(text)


def test_chunks_that_come_fast_are_said_together_and_in_order() -> None:
    written, chunks = Written(), [ChunkCounts(0, "estimate", number, [number, 0]) for number in range(6)]
    say = sayer(written, seconds=1000)
    for chunk in chunks[:4]:
        say(chunk)
    assert written.times == [chunks[:1]]  # the first one is seen at once
    said = InputResult(0, 0, 0, 0.5, False, {})
    say(said)  # what is none waits for nothing, nor do those before it any longer
    say(chunks[4])
    say(Alive())
    assert written.times == [chunks[:1], [*chunks[1:4], said], [chunks[4], Alive()]]


def test_chunks_that_come_slowly_are_said_one_by_one() -> None:
    written, chunks = Written(), [ChunkCounts(0, "estimate", number, [number, 0]) for number in range(3)]
    say = sayer(written, seconds=0)
    for chunk in chunks:
        say(chunk)
    assert written.times == [[chunk] for chunk in chunks]
