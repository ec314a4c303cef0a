"""The private listener over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from strangler.domain.errors import StoreUnavailable
from strangler.domain.process import Process, State, Tombstone
from strangler.operations import progress
from strangler.operations.api import serving
from strangler.operations.api.serving import Backing
from strangler.operations.api.tokens import Tokens
from strangler.operations.application import Health, Operations, Phase, Reloaded, ReloadRefused
from strangler.runtime.listeners import bind_path
from strangler.store.memory import MemoryStore
from tests.operations.samples import STARTED_AT, Heard, a_process, parsed, value


class Runtime:
    """What the private listener asks of the rest of the server."""

    def __init__(self) -> None:
        self.phase: Phase = "serving"
        self.degraded: dict[str, str] = {}
        self.reloads = 0
        self.answer: Reloaded | ReloadRefused = Reloaded("beef", 3, ["routes.yaml:7: a warning"])
        self.asked, self.switching = asyncio.Event(), asyncio.Event()
        self.switching.set()
        self.defect: Exception | None = None
        self.progressed: list[tuple[str, str, str | None]] = []
        self.found: Process | Tombstone | Exception | None = None

    async def reload(self) -> Reloaded | ReloadRefused:
        self.reloads += 1
        self.asked.set()
        await self.switching.wait()
        if self.defect is not None:
            raise self.defect
        return self.answer

    async def progress(self, process_id: str, status: str, text: str | None) -> Process | Tombstone | None:
        self.progressed.append((process_id, status, text))
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


class Stage:
    """A listener, what it asks, and a client of it."""

    def __init__(self, heard: Heard, runtime: Runtime, operations: Operations, port: int) -> None:
        self.heard, self.runtime, self.operations, self.port = heard, runtime, operations, port
        self.session = aiohttp.ClientSession(f"http://127.0.0.1:{port}")

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, data: bytes | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        async with self.session.request(method, path, headers=headers, data=data) as answer:
            return answer.status, answer.headers, await answer.read()

    async def problem(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, data: bytes | None = None
    ) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        status, answered, body = await self.ask(method, path, headers, data)
        assert answered["Content-Type"] == "application/problem+json"
        assert answered["Strangler-Source"] == "proxy"
        document = json.loads(body)
        assert document["status"] == status
        assert document["instance"] == path
        return status, document, answered


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    heard, runtime = Heard(), Runtime()
    with heard as telemetry:
        health = Health(lambda: runtime.phase, lambda: runtime.degraded)
        operations = Operations(
            telemetry,
            health,
            runtime.reload,
            hosts=["Ops.Example", "[2001:db8::7]"],
            backing=Backing(Tokens(None), MemoryStore(), lambda: STARTED_AT),
            endpoints=[progress.endpoint(runtime.progress)],
        )
        stage = Stage(heard, runtime, operations, await operations.start("127.0.0.1", 0))
        yield stage
        await stage.session.close()
        await operations.stop()


async def test_the_port_that_was_bound_is_known_when_any_was_asked_for(stage: Stage) -> None:
    assert stage.port > 0
    assert stage.operations.addresses == [f"127.0.0.1:{stage.port}"]


@pytest.mark.parametrize("phase", ["starting", "serving", "draining"])
async def test_it_is_alive_in_every_phase(stage: Stage, phase: Phase) -> None:
    stage.runtime.phase = phase
    status, headers, body = await stage.ask("GET", "/healthz")
    assert (status, json.loads(body)) == (200, {"status": "alive"})
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json"])
async def test_what_a_probe_adds_to_a_path_is_not_looked_at(stage: Stage, path: str) -> None:
    for query in ("?x=1", "?x=1&x=2", "?%ff", "?"):
        assert (await stage.ask("GET", path + query))[0] == 200


@pytest.mark.parametrize(("phase", "expected"), [("starting", 503), ("serving", 200), ("draining", 503)])
async def test_it_is_ready_only_while_it_serves(stage: Stage, phase: Phase, expected: int) -> None:
    stage.runtime.phase = phase
    status, _, body = await stage.ask("GET", "/readyz")
    assert (status, json.loads(body)) == (expected, {"phase": phase, "degraded": {}})


async def test_degraded_is_ready_and_says_what_is_wrong(stage: Stage) -> None:
    stage.heard.telemetry.store_refuses("the disk is full")
    stage.heard.telemetry.policy_refused("routes.yaml:3:5: unknown key")
    stage.runtime.degraded = {"upstream": "one is not reachable"}
    status, _, body = await stage.ask("GET", "/readyz")
    assert status == 200
    assert json.loads(body)["degraded"] == {
        "store": "the disk is full",
        "policy": "routes.yaml:3:5: unknown key",
        "upstream": "one is not reachable",
    }


async def test_a_scrape_is_read_by_a_parser_and_holds_what_was_counted(stage: Stage) -> None:
    stage.heard.telemetry.accepted(a_process(route='odd "route"\\\n'), 0.003)
    stage.runtime.phase = "draining"
    status, headers, body = await stage.ask("GET", "/metrics", {"Accept": "application/openmetrics-text; version=x.y"})
    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples = parsed(body.decode())
    assert value(samples, "strangler_accepted_total", route='odd "route"\\\n') == 1
    assert value(samples, "strangler_draining") == 1


async def test_counting_goes_on_while_a_scrape_is_rendered(stage: Stage) -> None:
    scrapes = [asyncio.create_task(stage.ask("GET", "/metrics")) for _ in range(4)]
    counted = 0
    while not all(scrape.done() for scrape in scrapes):
        stage.heard.telemetry.passed_through(f"route-{counted % 500}", 200, 0.001)
        counted += 1
        await asyncio.sleep(0)
    for scrape in scrapes:
        samples = parsed((await scrape)[2].decode())
        for (name, labels), count in samples.items():
            if name == "strangler_passthrough_seconds_count":
                assert count == value(samples, "strangler_passthrough_seconds_bucket", **dict(labels), le="+Inf")
    samples = parsed((await stage.ask("GET", "/metrics"))[2].decode())
    total = sum(count for (name, _), count in samples.items() if name == "strangler_passthrough_requests_total")
    assert total == counted


async def test_a_reload_is_answered_when_all_have_switched(stage: Stage) -> None:
    stage.runtime.switching.clear()
    asked = asyncio.create_task(stage.ask("POST", "/-/reload"))
    await stage.runtime.asked.wait()
    assert not asked.done()
    stage.runtime.switching.set()
    status, _, body = await asked
    assert status == 200
    assert json.loads(body) == {"revision": "beef", "routes": 3, "warnings": ["routes.yaml:7: a warning"]}


async def test_a_policy_that_does_not_load_is_answered_with_all_its_errors(stage: Stage) -> None:
    errors = [{"pointer": "/routes/0/mode", "detail": "routes.yaml:3:5: unknown"}, {"detail": "routes.yaml:9:1: more"}]
    stage.runtime.answer = ReloadRefused(errors)
    status, document, _ = await stage.problem("POST", "/-/reload")
    assert status == 422
    assert document["code"] == "policy-invalid"
    assert document["errors"] == errors


async def test_a_reload_that_breaks_is_a_defect_that_is_logged_and_not_shown(stage: Stage) -> None:
    stage.runtime.defect = RuntimeError("hunter2")
    status, document, _ = await stage.problem("POST", "/-/reload")
    assert (status, document["code"]) == (500, "internal-error")
    assert "hunter2" not in json.dumps(document)
    stage.heard.logs.close()
    assert [line["place"] for line in stage.heard.lines if line["event"] == "defect"] == ["operations"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("GET", "/-/reload", "POST"), ("POST", "/metrics", "GET, HEAD"), ("DELETE", "/healthz", "GET, HEAD")],
)
async def test_another_method_is_refused_with_those_that_serve(
    stage: Stage, method: str, path: str, allow: str
) -> None:
    status, document, headers = await stage.problem(method, path)
    assert (status, document["code"], headers["Allow"]) == (405, "method-not-allowed", allow)
    assert stage.runtime.reloads == 0


async def test_another_path_is_a_problem_document_too(stage: Stage) -> None:
    status, document, _ = await stage.problem("GET", "/admin")
    assert (status, document["code"]) == (404, "no-route")


async def test_a_head_of_health_has_no_body(stage: Stage) -> None:
    status, _, body = await stage.ask("HEAD", "/readyz")
    assert (status, body) == (200, b"")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 200),
        ("127.9.9.9:1", 200),
        ("[::1]:9901", 200),
        ("OPS.example:9901", 200),
        ("[2001:db8::7]", 200),
        ("evil.example", 403),
        ("192.0.2.1", 403),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/metrics"), ("POST", "/-/reload")])
async def test_only_names_that_are_ours_come_in(stage: Stage, method: str, path: str, host: str, expected: int) -> None:
    status, _, _ = await stage.ask(method, path, {"Host": host})
    assert status == expected
    assert stage.runtime.reloads == (1 if method == "POST" and expected == 200 else 0)


async def test_a_request_without_a_host_is_refused(stage: Stage) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert b" 403 " in answer.split(b"\r\n")[0]
    assert b"strangler_" not in answer


@pytest.mark.parametrize(
    ("sent", "code", "status"),
    [
        (b"GET /healthz HTTP/1.1\nHost: localhost\n\n", "bad-request", 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", "bad-request", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nsec ret: s3cret\r\n\r\n", "bad-request", 400),
        (b"\x16\x03\x01\x00\xa5\x01\r\n\r\n", "bad-request", 400),
        (b"GET /" + b"s3cret" * 2000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", "head-too-large", 431),
        (b"GET s3cret HTTP/1.1\r\nHost: localhost\r\n\r\n", "bad-request", 400),
        (
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nExpect: s3cret\r\nConnection: close\r\n\r\n",
            "expectation-failed",
            417,
        ),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"s3cret" * 2000, "head-too-large", 431),
    ],
)
async def test_what_is_no_request_is_a_problem_document_and_nobodys_defect(
    stage: Stage, caplog: pytest.LogCaptureFixture, sent: bytes, code: str, status: int
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(sent)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert b"Content-Type: application/problem+json\r\n" in head
    assert b"Strangler-Source: proxy\r\n" in head
    document = json.loads(body)
    assert (document["code"], document["status"], int(head.split()[1])) == (code, status, status)
    assert b"s3cret" not in body
    assert caplog.records == []


async def test_a_body_that_breaks_off_is_no_defect(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    before = asyncio.all_tasks()
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 52\r\n" % PROGRESS.encode())
    writer.write(b"Expect: 100-continue\r\n\r\n")
    await reader.readuntil(b"100 Continue\r\n\r\n")
    writer.write(ASSESSING[:20])
    serving = asyncio.all_tasks() - before
    writer.transport.abort()
    await asyncio.wait(serving)
    assert stage.runtime.progressed == []
    stage.heard.logs.close()
    assert stage.heard.lines == []
    assert caplog.records == []


@pytest.mark.parametrize("further", [b"", b"bad\r\n"])
async def test_a_body_that_does_not_come_to_its_end_is_not_waited_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, further: bytes
) -> None:
    monkeypatch.setattr(serving, "BODY_TIMEOUT", 0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(b"POST %b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n" % PROGRESS.encode())
    writer.write(b"Expect: 100-continue\r\n\r\n")
    await reader.readuntil(b"100 Continue\r\n\r\n")
    writer.write(b"5\r\n" + ASSESSING[:5] + b"\r\n")
    writer.write(further)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"Content-Type: application/problem+json\r\n" in head
    writer.close()
    await writer.wait_closed()
    assert stage.runtime.progressed == []
    assert caplog.records == []


async def test_a_body_in_a_content_coding_is_refused(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    for data in (gzip.compress(ASSESSING), b"no gzip at all"):
        status, document, _ = await stage.problem("POST", PROGRESS, {"Content-Encoding": "gzip"}, data)
        assert (status, document["code"], stage.runtime.progressed) == (400, "bad-request", [])
    assert caplog.records == []


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
async def test_a_page_of_another_origin_cannot_reload(stage: Stage, headers: dict[str, str]) -> None:
    status, document, _ = await stage.problem("POST", "/-/reload", headers)
    assert (status, document["code"]) == (403, "forbidden")
    assert stage.runtime.reloads == 0


async def test_a_page_of_the_listener_itself_can_reload(stage: Stage) -> None:
    own = f"127.0.0.1:{stage.port}"
    headers = {"Host": own, "Origin": f"http://{own}", "Sec-Fetch-Site": "same-origin"}
    assert (await stage.ask("POST", "/-/reload", headers))[0] == 200


async def test_a_client_that_is_gone_already_gets_past_no_door(stage: Stage) -> None:
    request = make_mocked_request("POST", "/-/reload", headers={"Host": "evil.example"}, transport=asyncio.Transport())
    [guard] = stage.operations.application().middlewares

    async def inside(request: web.Request) -> web.StreamResponse:
        raise AssertionError("it came in")

    answer = await guard(request, inside)
    assert answer.status == 403


async def test_it_listens_on_a_unix_socket_too_and_is_gone_after_the_stop(stage: Stage, tmp_path: Path) -> None:
    path = str(tmp_path / "ops.sock")
    await stage.operations.start_on(bind_path(path))
    assert stage.operations.addresses == [f"127.0.0.1:{stage.port}", f"unix:{path}"]
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session:
        async with session.get("http://whatever/healthz") as answer:
            assert answer.status == 200
    await stage.operations.stop()
    assert stage.operations.addresses == []
    with pytest.raises(OSError):
        await asyncio.open_unix_connection(path)
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", stage.port)


async def test_an_address_that_is_taken_is_an_error(stage: Stage) -> None:
    with pytest.raises(OSError):
        await stage.operations.start("127.0.0.1", stage.port)


async def test_a_name_of_several_addresses_gives_a_port_that_serves(stage: Stage) -> None:
    port = await stage.operations.start("localhost", 0)
    assert port != stage.port
    async with aiohttp.ClientSession() as session, session.get(f"http://localhost:{port}/healthz") as answer:
        assert answer.status == 200


# ── Progress ─────────────────────────────────────────────────────────────────────────────────────────────────────────

PROGRESS = "/processes/0195/progress"
ASSESSING = b'{"status": "ASSESSING", "text": "with the assessor"}'


async def test_progress_is_handed_on_and_the_process_shown_as_it_is_by_now(stage: Stage) -> None:
    stage.runtime.found = a_process(state=State.PROCESSING)._replace(
        status="ASSESSING", reason="with the assessor", version=3
    )
    status, headers, body = await stage.ask("POST", PROGRESS, data=ASSESSING)
    told = json.loads(body)
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    assert stage.runtime.progressed == [("0195", "ASSESSING", "with the assessor")]
    assert (told["state"], told["status"], told["reason"], told["version"]) == (
        "processing",
        "ASSESSING",
        "with the assessor",
        3,
    )


async def test_progress_needs_no_text(stage: Stage) -> None:
    stage.runtime.found = a_process(state=State.PROCESSING)
    assert (await stage.ask("POST", PROGRESS, data=b'{"status": "ASSESSING"}'))[0] == 200
    assert stage.runtime.progressed == [("0195", "ASSESSING", None)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 10_000,
        b'{"text": "x"}',
        b'{"status": ""}',
        b'{"status": " "}',
        b'{"status": 1}',
        b'{"status": "a\\nb"}',
        b'{"status": "x", "text": null}',
        b'{"status": "x", "state": "completed"}',
        b'{"status": "' + b"x" * 201 + b'"}',
        b"\xff",
    ],
)
async def test_progress_that_says_nothing_is_refused(stage: Stage, data: bytes) -> None:
    status, document, _ = await stage.problem("POST", PROGRESS, data=data)
    assert (status, document["code"], stage.runtime.progressed) == (400, "bad-request", [])


async def test_progress_of_any_length_is_not_read_to_the_end(stage: Stage) -> None:
    status, document, _ = await stage.problem("POST", PROGRESS, data=b'{"status": "' + b"x" * 17_000 + b'"}')
    assert (status, document["code"], stage.runtime.progressed) == (413, "body-too-large", [])


@pytest.mark.parametrize(
    ("found", "code", "status"),
    [
        (None, "no-such-process", 404),
        (Tombstone("0195", "/processes", None, "p", 0), "no-longer-kept", 410),
        (a_process(state=State.COMPLETED), "process-ended", 409),
        (StoreUnavailable("full"), "store-unavailable", 503),
    ],
)
async def test_progress_of_what_cannot_go_on_is_refused(stage: Stage, found: Any, code: str, status: int) -> None:
    stage.runtime.found = found
    told = await stage.problem("POST", PROGRESS, data=ASSESSING)
    assert (told[0], told[1]["code"]) == (status, code)


async def test_progress_does_not_come_from_a_page_of_another_origin(stage: Stage) -> None:
    told = await stage.problem("POST", PROGRESS, {"Origin": "https://evil.example"}, ASSESSING)
    assert (told[0], stage.runtime.progressed) == (403, [])
