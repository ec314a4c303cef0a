"""What is wrong is said clearly, and nothing of it is recorded or reaches the legacy system."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.harness.client import Client, Reply
from tests.harness.legacy import Legacy
from tests.harness.server import Server
from tests.harness.stage import Stage

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["policyNumber", "amount"],
    "properties": {
        "policyNumber": {"type": "string", "pattern": "^P-[0-9]+$"},
        "amount": {"type": "number", "minimum": 0},
        "positions": {"type": "array", "items": {"type": "object", "required": ["sku"]}},
    },
}
POLICY = """
upstreams:
  legacy: {{url: "{url}"}}
routes:
  - name: submit-claim
    match: {{path: [/claims, "/claims/{{claim_id}}/assess"], methods: [POST]}}
    upstream: legacy
    mode: async
    accept:
      schema: claim.schema.json
      content_types: [application/json]
      require_headers: [X-Channel]
      max_body: 64KiB
"""
GOOD = {"policyNumber": "P-1", "amount": 10}


class Desk:
    """Where bad input is handed in, and where one looks whether anything of it was kept."""

    def __init__(self, server: Server, client: Client, legacy: Legacy) -> None:
        self.server = server
        self.client = client
        self.legacy = legacy

    async def hand_in(self, body: bytes, path: str = "/claims", **headers: str) -> Reply:
        sent = {"Content-Type": "application/json", "X-Channel": "web"}
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        return await self.client.request("POST", path, body=body, headers={n: v for n, v in sent.items() if v})

    async def nothing_was_kept(self) -> None:
        assert await self.client.all_processes() == []
        assert set(self.legacy.calls()) <= {"good"}


class Office:
    """One server for all tests of this module: what is refused leaves nothing behind."""

    def __init__(self, directory: Path) -> None:
        self.legacy = Legacy(directory)
        (directory / "claim.schema.json").write_text(json.dumps(SCHEMA))
        self.server = Server(directory, POLICY.format(url=self.legacy.url))
        self.children = [self.legacy, self.server]

    async def open(self) -> None:
        await self.legacy.start()
        await self.server.start()

    async def close(self) -> None:
        for child in self.children:
            await child.kill()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    office = Office(tmp_path_factory.mktemp("office"))
    try:
        asyncio.run(office.open())
        yield office
    finally:
        asyncio.run(office.close())


@pytest.fixture
async def desk(office: Office) -> AsyncIterator[Desk]:
    async with Client(office.server.url, "alice") as client:
        yield Desk(office.server, client, office.legacy)


async def test_what_is_right_is_accepted_so_that_the_refusals_below_mean_something(desk: Desk) -> None:
    accepted = await desk.hand_in(json.dumps(GOOD).encode(), X_Api_Key="bob", X_Correlation_ID="good")
    assert accepted.status == 202


async def test_json_that_is_none_is_400_and_recorded_nowhere(desk: Desk) -> None:
    for body in (
        b"{",
        b"",
        b'{"policyNumber": "P-1", "amount": 10',
        b'{"a": 1, "a": 2}',
        b"\x00\x01\x02",
        b'{"policyNumber": "P-1\x00", "amount": 1}',
        b'\xff\xfe{"a": 1}',
        b"NaN",
        b'{"policyNumber": "P-1", "amount": Infinity}',
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"1" * 60_000,
    ):
        reply = await desk.hand_in(body)
        assert (reply.status, reply.code) in ((400, "bad-request"), (422, "invalid-request")), (body[:40], reply)
    await desk.nothing_was_kept()


async def test_all_that_does_not_fit_the_schema_is_named_with_its_place(desk: Desk) -> None:
    wrong = {"policyNumber": 7, "amount": -1, "positions": [{"sku": 1}, {}]}
    reply = await desk.hand_in(json.dumps(wrong).encode())
    assert (reply.status, reply.code) == (422, "invalid-request")
    assert {error["pointer"] for error in reply.json()["errors"]} >= {"/policyNumber", "/amount", "/positions/1"}
    for body in (b"[]", b"null", b'"text"', b"17", b"{}"):
        reply = await desk.hand_in(body)
        assert (reply.status, reply.code) == (422, "invalid-request"), body
        assert reply.json()["errors"]
    await desk.nothing_was_kept()


async def test_a_body_that_is_too_large_is_413_with_and_without_a_length(desk: Desk) -> None:
    large = b'{"policyNumber": "' + b"x" * 70_000 + b'"}'
    with_length = await desk.hand_in(large)
    assert (with_length.status, with_length.code) == (413, "body-too-large")
    head = b"POST /claims HTTP/1.1\r\nHost: h\r\nX-Channel: web\r\nContent-Type: application/json\r\n"
    chunks = b"".join(b"%x\r\n%b\r\n" % (1000, b"x" * 1000) for _ in range(70))
    without = await desk.client.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    assert (without.status, without.code) == (413, "body-too-large")
    promised = await desk.client.raw(head + b"Content-Length: 999999999999\r\n\r\n{")
    assert (promised.status, promised.code) == (413, "body-too-large")
    await desk.nothing_was_kept()


async def test_what_the_route_asks_for_and_does_not_get_is_named(desk: Desk) -> None:
    body = json.dumps(GOOD).encode()
    media_type = await desk.hand_in(body, Content_Type="text/plain")
    assert (media_type.status, media_type.code) == (415, "unsupported-media-type")
    header = await desk.hand_in(body, X_Channel="")
    assert (header.status, header.code) == (400, "header-required")
    assert "x-channel" in header.json()["detail"].lower()
    await desk.nothing_was_kept()


@pytest.mark.parametrize("key", ["x" * 10_000, "x" * 256, '"open', 'a"b', "two words", "a,b", '"\\x"', "ключ"])
async def test_an_idempotency_key_that_is_none_is_400(desk: Desk, key: str) -> None:
    reply = await desk.hand_in(json.dumps(GOOD).encode(), Idempotency_Key=key)
    assert (reply.status, reply.code) == (400, "idempotency-key-invalid")
    await desk.nothing_was_kept()


async def test_a_head_of_100_kilobytes_is_431(desk: Desk) -> None:
    one = await desk.client.raw(b"POST /claims HTTP/1.1\r\nHost: h\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n")
    many = await desk.client.raw(
        b"POST /claims HTTP/1.1\r\nHost: h\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(10_000)) + b"\r\n"
    )
    for reply in (one, many):
        assert (reply.status, reply.code) == (431, "head-too-large")
    await desk.nothing_was_kept()


@pytest.mark.parametrize(
    "head",
    [
        b"POST /claims HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /claims HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /claims HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        b"POST /claims HTTP/1.1\r\nHost: h\r\nX-Channel: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /claims HTTP/1.1\r\nHost: h\r\n folded: yes\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /claims HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /claims\x00 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
        b"POST  /claims HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /claims HTTP/1.1\r\nHost: h\r\nBad Name: x\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /claims HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS\r\n\r\n",
    ],
)
async def test_framing_that_can_be_read_in_two_ways_is_400(desk: Desk, head: bytes) -> None:
    reply = await desk.client.raw(head)
    assert reply.status == 400
    assert reply.code is not None
    await desk.nothing_was_kept()


@pytest.mark.parametrize("segment", ["%zz", "%", "%4", "%00", "a%00b"])
async def test_percent_encoding_that_is_none_does_not_get_through(desk: Desk, segment: str) -> None:
    body = json.dumps(GOOD).encode()
    reply = await desk.client.raw(
        b"POST /claims/%b/assess HTTP/1.1\r\nHost: h\r\nX-Channel: web\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (segment.encode(), len(body), body)
    )
    assert reply.status in (400, 404)
    assert reply.code is not None
    await desk.nothing_was_kept()


@pytest.mark.parametrize(
    "name",
    [
        "0",
        "null",
        "../../etc/passwd",
        "%00",
        "' OR 1=1 --".replace(" ", "%20"),
        "x" * 5000,
        "01966b6e-0000-7000-8000-00000000000g",
        "01966b6e-0000-7000-8000-000000000000",
        "01966B6E-0000-7000-8000-000000000000",
        "00000000-0000-0000-0000-000000000000/status",
        "01966b6e-0000-7000-8000-000000000000/result",
        "01966b6e-0000-7000-8000-000000000000/history",
        "01966b6e-0000-7000-8000-000000000000/nothing",
    ],
)
async def test_an_id_that_is_none_or_nobodys_is_404(desk: Desk, name: str) -> None:
    for method in ("GET", "DELETE", "POST"):
        reply = await desk.client.request(method, f"/processes/{name}")
        assert reply.status in (400, 404, 405), (method, reply)
        assert reply.code in ("no-such-process", "no-route", "bad-request", "ambiguous-target", "method-not-allowed")


async def test_a_list_asked_for_with_nonsense_is_400(desk: Desk) -> None:
    for query in ("limit=0", "limit=201", "limit=x", "state=lost", "cursor=%00", "cursor=zzz", "createdAfter=soon"):
        reply = await desk.client.request("GET", f"/processes?{query}")
        assert (reply.status, reply.code) == (400, "bad-request"), query


async def test_a_half_sent_request_records_nothing(desk: Desk) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", desk.server.port)
    writer.write(
        b"POST /claims HTTP/1.1\r\nHost: h\r\nX-Channel: web\r\nContent-Type: application/json\r\n"
        b'Content-Length: 33\r\n\r\n{"policyNumber": "P-1", '
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await desk.client.request("GET", "/nowhere")).code == "no-route"
    await desk.nothing_was_kept()


async def test_a_policy_that_ends_in_the_middle_is_refused_at_start_with_its_place(stage: Stage) -> None:
    whole = POLICY.format(url="http://127.0.0.1:9")
    server = stage.server(whole[: whole.index("accept:")] + "accept: {idempotency: {requ")
    server.launch()
    assert await server.ended() == 2
    said = server.log.read_text()
    assert "routes.yaml" in said
    assert "Traceback" not in said


async def test_no_beginning_of_a_policy_makes_check_fall_over(stage: Stage, tmp_path: Path) -> None:
    whole = POLICY.format(url="http://127.0.0.1:9").replace("      schema: claim.schema.json\n", "")
    server = stage.server(whole)
    for end in range(10, len(whole), 60):
        server.policy.write_text(whole[:end])
        server.spawn(["-m", "strangler", "check", str(server.policy)])
        assert await server.ended() in (0, 1, 2)
    assert "Traceback" not in server.log.read_text()
