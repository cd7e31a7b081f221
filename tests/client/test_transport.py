"""What a healthy service can't show: 503, broken connections, answers of somebody else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from radii.client import Cancelled, Client, ProblemError, Unreachable, transport, waiting
from radii.files import external_data

Answer = httpx.Response | type[httpx.TransportError]

BUSY = {"type": "/problems/unavailable", "title": "A part is not reachable", "status": 503, "remedy": "Try again."}


class Script:
    """A service that answers what it was told to, in that order, and remembers what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.bodies: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.bodies.append(request.read())
        answer = self.answers.pop(0)
        if not isinstance(answer, httpx.Response):
            raise answer("as scripted", request=request)
        return answer


Scripted = Callable[..., tuple[Client, Script]]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """Makes a client of a ``Script``; its pauses are short."""
    monkeypatch.setenv("RADII_URL", "http://radii.test")
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.001)

    def make(*answers: Answer, url: str | None = None, **options: Any) -> tuple[Client, Script]:
        script = Script(*answers)
        return Client(url, "key", transport=httpx.MockTransport(script), **options), script

    return make


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, scripted: Scripted) -> Clock:
    """The client's clock; its pauses are as long as in life."""
    clock = Clock()
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.2)
    for module in (transport, waiting):
        monkeypatch.setattr(module, "time", clock)
    return clock


def ok(document: object = None, **headers: str) -> httpx.Response:
    return httpx.Response(200, json=document or {"id": "mdl_1", "state": "ready", "ended": True}, headers=headers)


def busy(**headers: str) -> httpx.Response:
    return httpx.Response(503, json=BUSY, headers=headers)


def test_what_was_answered_503_is_sent_again_whole(scripted: Scripted, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(bytes(range(256)) * 4096)
    client, script = scripted(busy(), busy(), ok({"id": "upl_1"}))
    seen: list[tuple[int, int]] = []
    assert client.upload(file, on_bytes=lambda done, total: seen.append((done, total))) == {"id": "upl_1"}
    assert script.bodies == [file.read_bytes()] * 3
    assert {request.headers["Content-Length"] for request in script.requests} == {str(file.stat().st_size)}
    assert seen[-1] == (file.stat().st_size, file.stat().st_size)


def test_a_service_that_stays_busy_is_left_alone_when_patience_is_over(scripted: Scripted, clock: Clock) -> None:
    client, script = scripted(*[busy() for _ in range(100)], patience=60)
    with pytest.raises(ProblemError, match="A part is not reachable") as caught:
        client.get("mdl_1")
    assert caught.value.slug == "unavailable"
    assert clock.now == 60
    assert len(script.requests) > 5


def test_patience_is_the_argument_the_variable_or_ten_minutes(
    scripted: Scripted, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, options, expected in ((None, {}, 600), ("90", {}, 90), ("90", {"patience": 0}, 0)):
        if variable:
            monkeypatch.setenv("RADII_PATIENCE", variable)
        clock.now = 0
        client, _ = scripted(ok(), *[httpx.ConnectError] * 1000, **options)
        client.get("mdl_1")
        with pytest.raises(Unreachable, match="does not answer"):
            client.get("mdl_1")
        assert clock.now == expected
    for wrong in ("soon", "-1", "inf", "٣"):
        monkeypatch.setenv("RADII_PATIENCE", wrong)
        with pytest.raises(ValueError, match="RADII_PATIENCE"):
            Client("http://radii.test")


def test_what_is_endured_is_said_once_and_for_how_long(
    scripted: Scripted, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    client, _ = scripted(ok(), *[httpx.ConnectError] * 9, ok(), busy(), *[busy()] * 9, ok())
    client.get("mdl_1")
    client.get("mdl_1")
    assert [record.message for record in caplog.records] == [
        "http://radii.test does not answer (as scripted); trying again for 10 min"
    ]
    heard: list[str] = []
    client.on_trouble = heard.append
    client.get("mdl_1")
    assert heard == ["http://radii.test answers: A part is not reachable; trying again for 10 min"]


def test_what_passes_in_a_moment_is_not_worth_a_word(scripted: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    client, _ = scripted(ok(), httpx.ConnectError, busy(), ok())
    client.get("mdl_1")
    client.get("mdl_1")
    assert not caplog.records


def test_whether_it_is_ready_is_not_waited_for_long(scripted: Scripted, clock: Clock) -> None:
    client, _ = scripted(*[busy() for _ in range(100)])
    with pytest.raises(ProblemError):
        client.ready()
    assert clock.now == 10


def test_pauses_are_as_long_as_the_service_asks(scripted: Scripted, clock: Clock) -> None:
    client, _ = scripted(busy(**{"Retry-After": "7"}), busy(**{"Retry-After": "99999"}), busy(), ok())
    client.get("mdl_1")
    assert clock.pauses[:2] == [7, transport.LONGEST_ASKED]
    assert clock.pauses[2] < 1


def test_a_get_survives_a_restart_of_the_service(scripted: Scripted) -> None:
    client, _ = scripted(ok(), httpx.ReadError, httpx.ConnectError, ok())
    client.get("mdl_1")
    assert client.get("mdl_1")["id"] == "mdl_1"


@pytest.mark.parametrize("status", [502, 504])
def test_a_get_survives_a_restart_behind_a_proxy(scripted: Scripted, status: int) -> None:
    away = httpx.Response(status, text="<h1>Bad Gateway</h1>")
    client, _ = scripted(ok(), away, away, ok({"id": "mdl_2"}))
    client.get("mdl_1")
    assert client.get("mdl_1")["id"] == "mdl_2"


def test_a_post_that_did_not_get_through_is_sent_again(scripted: Scripted) -> None:
    client, script = scripted(ok(), httpx.ConnectError, httpx.ConnectTimeout, ok({"id": "cert_1"}))
    client.get("mdl_1")
    assert client.create_certification("mdl_1", "dat_1", {"kind": "lipschitz"}) == {"id": "cert_1"}
    assert len(script.requests) == 4


def test_what_may_be_registered_twice_is_sent_again(scripted: Scripted, tmp_path: Path) -> None:
    file = tmp_path / "x.npz"
    file.write_bytes(b"x")
    client, script = scripted(ok(), httpx.WriteError, ok({"id": "upl_1"}), httpx.ReadError, ok({"id": "dat_1"}))
    client.get("mdl_1")
    assert client.create_dataset(file) == {"id": "dat_1"}
    assert script.bodies[1:3] == [b"x", b"x"]


def test_a_certification_that_may_have_started_is_said_to(scripted: Scripted) -> None:
    client, script = scripted(ok(), httpx.ReadError)
    client.get("mdl_1")
    with pytest.raises(Unreachable) as caught:
        client.create_certification("mdl_1", "dat_1", {"kind": "lipschitz"})
    assert caught.value.__notes__ == ["The certification may have started all the same: radii jobs"]
    assert len(script.requests) == 2


def test_a_post_whose_connection_broke_is_not_sent_again(scripted: Scripted) -> None:
    client, script = scripted(ok(), httpx.ReadError)
    client.get("mdl_1")
    with pytest.raises(Unreachable, match="radii up"):
        client.cancel("cert_1")
    assert len(script.requests) == 2


def test_nobody_there_is_said_at_once(scripted: Scripted) -> None:
    client, script = scripted(httpx.ConnectError)
    with pytest.raises(Unreachable, match=r"http://radii\.test does not answer .*radii up"):
        client.get("mdl_1")
    assert len(script.requests) == 1


@pytest.mark.parametrize("answer", [httpx.Response(502, text="<h1>Bad Gateway</h1>"), httpx.Response(404, json=[1])])
def test_an_answer_of_something_else_points_at_the_url(scripted: Scripted, answer: httpx.Response) -> None:
    client, _ = scripted(answer)
    with pytest.raises(ProblemError, match="RADII_URL") as caught:
        client.get("mdl_1")
    assert caught.value.document["status"] == answer.status_code


def test_results_that_break_off_are_not_taken_for_all(scripted: Scripted) -> None:
    class Broken(httpx.SyncByteStream):
        def __iter__(self):  # type: ignore[no-untyped-def]
            yield b'{"index": 0}\n{"ind'
            raise httpx.RemoteProtocolError("peer closed connection")

    class Nothing(httpx.SyncByteStream):
        def __iter__(self):  # type: ignore[no-untyped-def]
            raise httpx.ReadError("reset")

    client, script = scripted(*[httpx.Response(200, stream=stream) for stream in (Broken(), Nothing())])
    results = client.results("cert_1")
    assert next(results) == {"index": 0}
    with pytest.raises(Unreachable, match="broke off"):
        next(results)
    assert script.requests[1].url.query == b"cursor=0"


def test_results_that_break_off_go_on_after_the_last(scripted: Scripted) -> None:
    class Half(httpx.SyncByteStream):
        def __init__(self, first: int) -> None:
            self.first = first

        def __iter__(self):  # type: ignore[no-untyped-def]
            yield b'{"index": %d}\n{"index": %d}\n{"ind' % (self.first, self.first + 3)
            raise httpx.RemoteProtocolError("peer closed connection")

    rest = httpx.Response(200, text='{"index": 20}\n')
    halves = [httpx.Response(200, stream=Half(first)) for first in (0, 7)]
    client, script = scripted(halves[0], httpx.ConnectError, halves[1], rest)
    assert [row["index"] for row in client.results("cert_1")] == [0, 3, 7, 10, 20]
    assert [request.url.query for request in script.requests] == [b"", b"cursor=3", b"cursor=3", b"cursor=10"]


def test_waiting_asks_only_for_what_changed(scripted: Scripted) -> None:
    validating = {"id": "mdl_1", "state": "validating", "ended": False}
    client, script = scripted(
        ok(validating, ETag='"a"', **{"Retry-After": "0"}),
        httpx.Response(304, headers={"Retry-After": "0"}),
        ok(ETag='"b"'),
    )
    seen: list[str] = []
    assert client.wait("mdl_1", on_change=lambda document: seen.append(document["state"]))["state"] == "ready"
    assert seen == ["validating", "ready"]
    assert [request.headers.get("If-None-Match") for request in script.requests] == [None, '"a"', '"a"']


def test_waiting_ends_with_the_problem_of_what_failed(scripted: Scripted) -> None:
    problem = {"type": "/problems/worker-lost", "title": "Lost", "detail": "three times", "remedy": "Use less memory."}
    client, _ = scripted(ok({"id": "cert_1", "state": "failed", "ended": True, "problem": problem}))
    with pytest.raises(ProblemError) as caught:
        client.wait("cert_1")
    assert str(caught.value) == "Lost\nthree times\nUse less memory."


def test_waiting_has_an_end(scripted: Scripted) -> None:
    client, _ = scripted(*[ok({"id": "cert_1", "state": "running", "ended": False}) for _ in range(2)])
    with pytest.raises(TimeoutError, match=r"cert_1 is still running after 0\.01 seconds") as caught:
        client.wait("cert_1", timeout=0.01)
    assert caught.value.__notes__ == ["The certification: radii jobs cert_1 --wait"]


def test_the_service_does_the_waiting(scripted: Scripted, clock: Clock) -> None:
    def running(second: int, **headers: str) -> httpx.Response:
        return ok({"id": "cert_1", "state": "running", "ended": False, "second": second}, **headers)

    waited = {"Preference-Applied": "wait=4", "Retry-After": "4"}
    seen: list[int] = []
    client, script = scripted(running(0, **{"Retry-After": "3"}), running(1, **waited), running(2), ok())
    client.wait("cert_1", on_change=lambda document: seen.append(document.get("second", -1)))
    assert [request.headers.get("Prefer") for request in script.requests] == [None, "wait=3", "wait=4", "wait=1"]
    assert clock.pauses == [1]  # where nothing says that the preference was honoured
    assert seen == [0, 1, 2, -1]
    client, script = scripted(running(0, **waited), ok())
    client.wait("cert_1")
    assert [request.headers.get("Prefer") for request in script.requests] == ["wait=10", "wait=10"]
    assert clock.pauses == [1]


def test_whatever_keeps_us_from_an_answer_names_the_job(scripted: Scripted) -> None:
    job = {"id": "cert_1", "state": "queued", "ended": False, "problem": None}
    client, _ = scripted(ok(job), *[httpx.ConnectError] * 2, patience=0)
    with pytest.raises(Unreachable) as caught:
        client.predict("mdl_1", [[0.5]], {"kind": "prediction", "sigma": 1.0})
    assert caught.value.__notes__ == ["The certification: radii jobs cert_1 --wait"]


def test_a_service_that_commands_would_not_find_is_named_with_them(scripted: Scripted) -> None:
    job = {"id": "cert_1", "state": "running", "ended": False}
    client, _ = scripted(ok(job), ok(job), url="http://elsewhere.test/")
    with pytest.raises(TimeoutError) as caught:
        client.wait("cert_1", timeout=0.01)
    assert caught.value.__notes__ == ["The certification: radii jobs cert_1 --wait --url http://elsewhere.test"]


def test_numbers_that_json_has_not_are_refused_before_anything_is_sent(scripted: Scripted) -> None:
    client, script = scripted()
    with pytest.raises(ValueError, match="NaN or infinity: all numbers must be finite"):
        client.predict("mdl_1", [[float("nan")]], {"kind": "prediction", "sigma": 1.0})
    assert not script.requests


@pytest.mark.parametrize("url", ["localhost:8000", "127.0.0.1", "htp://radii.test"])
def test_a_url_without_its_scheme_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(ValueError, match=r"RADII_URL.* give http://"):
        Client(url, "key")


def test_a_list_goes_on_to_the_next_page(scripted: Scripted) -> None:
    pages = [ok({"items": [{"id": 1}, {"id": 2}], "next_cursor": "x"}), ok({"items": [{"id": 3}], "next_cursor": None})]
    client, script = scripted(*pages)
    assert [row["id"] for row in client.list("models")] == [1, 2, 3]
    assert [request.url.query for request in script.requests] == [b"", b"cursor=x"]


@pytest.mark.parametrize("text", ["digits.onnx", "mdl_../../keys", "run_1", ""])
def test_what_is_no_id_is_never_a_path(scripted: Scripted, text: str) -> None:
    client, script = scripted()
    with pytest.raises(ValueError, match="is no id"):
        client.get(text)
    assert not script.requests


def test_a_question_that_was_cancelled_has_no_answer(scripted: Scripted) -> None:
    job = {"id": "cert_1", "state": "queued", "ended": False, "problem": None}
    client, script = scripted(ok(job), ok(job | {"state": "cancelled", "ended": True}), ok())
    with pytest.raises(Cancelled, match="radii results cert_1"):
        client.median("mdl_1", [[0.5]], {"kind": "median", "sigma": 1.0, "radius": 0.5})
    assert len(script.requests) == 2
    client, _ = scripted(
        ok(job | {"state": "cancelled", "ended": True, "results": {"items": []}})
    )  # while the request waited
    with pytest.raises(Cancelled):
        client.predict("mdl_1", [[0.5]], {"kind": "prediction", "sigma": 1.0})


def test_weights_beside_the_model_go_with_it(scripted: Scripted, tmp_path: Path) -> None:
    for name in ("m.onnx", "m.onnx.data", "m.onnx_data_1", "m.data", "m_data.npz", "other.onnx.data"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "m.onnx.data.d").mkdir()
    model = tmp_path / "m.onnx"
    assert [path.name for path in external_data(model)] == ["m.data", "m.onnx.data", "m.onnx_data_1"]
    client, script = scripted(*[ok({"id": f"upl_{i}"}) for i in range(4)], ok())
    client.create_model(model, shape=[4])
    assert script.bodies[:4] == [b"m.data", b"m.onnx.data", b"m.onnx_data_1", b"m.onnx"]
    question = json.loads(script.bodies[4])
    assert question["upload_id"] == "upl_3"
    assert question["external_data"] == {"m.data": "upl_0", "m.onnx.data": "upl_1", "m.onnx_data_1": "upl_2"}


def test_the_key_is_the_argument_the_variable_or_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def sent(key: str | None) -> str | None:
        script = Script(ok())
        Client("http://radii.test", key, transport=httpx.MockTransport(script)).get("mdl_1")
        return script.requests[0].headers.get("Authorization")

    monkeypatch.delenv("RADII_API_KEY", raising=False)
    monkeypatch.setenv("RADII_DATA_DIR", str(tmp_path))
    assert sent(None) is None
    (tmp_path / "api-key").write_text("of-the-file\n")
    assert sent(None) == "Bearer of-the-file"
    monkeypatch.setenv("RADII_API_KEY", "of-the-variable")
    assert sent(None) == "Bearer of-the-variable"
    assert sent("of-the-argument") == "Bearer of-the-argument"
