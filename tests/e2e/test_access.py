"""Tokens, the legacy system's own say, and traces, over sockets: the real server, an issuer and a legacy system."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest

from strangler.domain import tracing
from tests.e2e.house import House, bearer
from tests.engine.admitting import document
from tests.engine.tokens import ISSUER, Signer
from tests.harness.client import Client, Reply
from tests.harness.server import Server
from tests.harness.stage import Stage
from tests.harness.waiting import eventually

POLICY = """
upstreams:
  legacy: {{url: "{url}"}}
routes:
  - name: tokens
    match: {{path: /tokens, methods: [POST]}}
    upstream: legacy
    mode: async
    accept: {{require_headers: [X-Channel]}}
    access:
      name: jwt:client_id
      jwt: {{jwks: {jwks}, issuer: "{issuer}", audience: claims}}
  - name: asked
    match: {{path: /asked, methods: [POST]}}
    upstream: legacy
    mode: compat
    process: {{resource: /asked-processes}}
    access: {{identity: [basic:user], authorize: {{path: /may, cache: {cache}}}}}
default: {{upstream: legacy}}
"""
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
WEB = {"X-Channel": "web"}
ALICE = {"Authorization": "Basic YWxpY2U6c2VjcmV0"}  # alice:secret


async def a_server(stage: Stage, house: House, *, workers: int = 1, jwks: str = "", cache: str = "30s") -> Server:
    """The server over the policy above."""
    policy = POLICY.format(url=house.url, jwks=jwks or f'"{house.url}/keys"', issuer=ISSUER, cache=cache)
    server = stage.server(policy, options=["--workers", str(workers)] if workers > 1 else [])
    await server.start()
    return server


async def submit(client: Client, headers: dict[str, str]) -> Reply:
    return await client.request("POST", "/tokens", body={"amount": 12}, headers={**WEB, **headers})


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
async def test_a_refreshed_token_reads_its_process_also_after_the_key_was_exchanged(stage: Stage, workers: int) -> None:
    old, new = Signer("old", "RS256"), Signer("new")
    async with House(old) as house:
        server = await a_server(stage, house, workers=workers)
        async with Client(server.url) as client:
            accepted = await submit(client, bearer(old, client_id="broker-a"))
            assert accepted.status == 202
            status = accepted.json()["links"]["status"]
            for _ in range(4):  # whichever worker answers
                assert (await client.request("GET", status, headers=bearer(old, jti="refreshed"))).status == 200
                assert (await client.request("GET", status, headers=bearer(old, sub="bob"))).status == 404
                assert (await client.request("GET", status)).status == 404

            house.signers = [new]

            async def taken() -> bool:
                return all([(await client.request("GET", status, headers=bearer(new))).status == 200 for _ in range(4)])

            await eventually(taken, 30.0, "the new key is known to every worker")
            assert house.fetched >= 2
            listed = await client.request("GET", "/processes", headers=bearer(new))
            assert [one["id"] for one in listed.json()["processes"]] == [accepted.json()["id"]]

            await house.down()
            assert (await client.request("GET", status, headers=bearer(new, jti="2"))).status == 200, (
                "its last keys hold"
            )


async def test_tokens_that_are_not_good_are_challenged_in_their_place_of_the_order(stage: Stage) -> None:
    signer, mallory = Signer("one", "RS256"), Signer("one", "RS256")
    async with House(signer) as house:
        server = await a_server(stage, house)
        async with Client(server.url) as client:
            process = (await submit(client, bearer(signer))).json()["links"]["self"]
            brought = {"kid": "one", "jwk": signer.published()}
            confused = jwt.encode({"sub": "alice"}, "0" * 32, "HS256", headers=brought)
            for headers, reason in [
                (bearer(signer, exp=1), "expired"),
                (bearer(signer, aud="others"), "audience"),
                (bearer(signer, iss="https://mallory.example/"), "issuer"),
                (bearer(mallory), "signature"),
                (bearer(Signer("../../etc/passwd")), "signature"),
                ({"Authorization": f"Bearer {confused}"}, "algorithm"),
                ({"Authorization": "Bearer opaque"}, "malformed"),
            ]:
                for refused in (await submit(client, headers), await client.request("GET", process, headers=headers)):
                    assert (refused.status, refused.code) == (401, "unauthenticated")
                    assert refused.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token", error_desc')
                    assert reason in refused.headers["WWW-Authenticate"]

            bad = bearer(signer, exp=1)
            no_channel = await client.request("POST", "/tokens", body={}, headers=bad)
            assert no_channel.code == "header-required"
            bad_key = await client.request(
                "POST", "/tokens", body={}, headers={**bad, **WEB, "Idempotency-Key": '"broken'}
            )
            assert bad_key.code == "unauthenticated"
            passed = await client.request("POST", "/elsewhere", headers=bad)
            assert (passed.status, passed.body) == (200, b"done")
        assert len([request for request in house.called if request.path == "/tokens"]) <= 1
    assert await server.metric("strangler_refused_total", route="tokens", code="unauthenticated") >= 7


async def test_keys_in_a_file_are_exchanged_by_writing_it(stage: Stage) -> None:
    old, new = Signer("old"), Signer("new")
    keys = stage.directory / "keys.json"
    keys.write_bytes(document(old.published()))
    async with House() as house:
        server = await a_server(stage, house, jwks="keys.json")
        async with Client(server.url) as client:
            assert (await submit(client, bearer(old))).status == 202
            keys.write_bytes(b"{ not yet written")

            async def refused() -> bool:
                return await server.metric("strangler_policy_reload_failures_total") > 0

            await eventually(refused, what="what is no set of keys is refused")
            assert (await submit(client, bearer(old))).status == 202
            keys.write_bytes(document(new.published()))

            async def exchanged() -> bool:
                return (await submit(client, bearer(old))).status == 401

            await eventually(exchanged, what="the old key is good no more")
            assert (await submit(client, bearer(new))).status == 202
            assert house.fetched == 0


async def test_the_legacy_system_says_who_may_before_acceptance_and_before_reads(stage: Stage) -> None:
    async with House() as house:
        server = await a_server(stage, house, cache="0s")
        async with Client(server.url) as client:

            async def post() -> Reply:
                return await client.request("POST", "/asked", body={"amount": 12}, headers=ALICE)

            done = await post()
            assert (done.status, done.body) == (200, b"done")
            assert house.asked[0].headers["Authorization"] == ALICE["Authorization"]
            process = done.headers["Strangler-Process"]
            assert (await client.request("GET", process + "/status", headers=ALICE)).status == 200

            house.may = 401
            for refused in (await post(), await client.request("GET", process + "/status", headers=ALICE)):
                assert (refused.status, refused.body) == (401, b"says the legacy")
                assert refused.headers["WWW-Authenticate"] == 'Negotiate realm="legacy"'
                assert "Strangler-Source" not in refused.headers
            house.may = 403
            for method, path in (("GET", "/result"), ("GET", "/events"), ("POST", "/ticket"), ("DELETE", "")):
                refused = await client.request(method, process + path, headers=ALICE)
                assert (refused.status, refused.body) == (403, b"says the legacy")
            house.may = 500
            for unclear in (await post(), await client.request("GET", process, headers=ALICE)):
                assert (unclear.status, unclear.code) == (503, "authorization-unavailable")
                assert "Retry-After" in unclear.headers

            stranger = {"Authorization": "Basic Ym9iOnNlY3JldA=="}
            assert (await client.request("GET", process, headers=stranger)).status == 404
        assert len(house.called) == 1


async def test_a_yes_of_the_legacy_system_holds_for_a_while(stage: Stage) -> None:
    async with House() as house:
        server = await a_server(stage, house)
        async with Client(server.url) as client:
            done = await client.request("POST", "/asked", body={}, headers=ALICE)
            house.may = 403
            process = done.headers["Strangler-Process"]
            for _ in range(3):
                assert (await client.request("GET", process + "/status", headers=ALICE)).status == 200
            other_password = {"Authorization": "Basic YWxpY2U6d3Jvbmc="}
            assert (await client.request("GET", process + "/status", headers=other_password)).status == 403
            assert len(house.asked) == 2


@pytest.mark.slow
async def test_a_legacy_system_that_says_nothing_lets_nobody_in(stage: Stage) -> None:
    async with House() as house:
        server = await a_server(stage, house)
        house.silent.clear()
        async with Client(server.url) as client:
            unclear = await client.request("POST", "/asked", body={}, headers=ALICE)
            assert (unclear.status, unclear.code) == (503, "authorization-unavailable")
        house.silent.set()
        assert house.called == []


async def test_a_trace_goes_through_and_passthrough_leaves_it_alone(stage: Stage) -> None:
    signer = Signer("one")
    traced = {"traceparent": TRACEPARENT, "tracestate": "congo=t61rcWkgMzE"}
    async with House(signer) as house:
        server = await a_server(stage, house)
        async with Client(server.url) as client:
            accepted = await submit(client, {**bearer(signer), **traced})
            await eventually(lambda: len(house.called) == 1, what="the call")
            compat = await client.request("POST", "/asked", body={}, headers={**ALICE, **traced})
            passed = await client.request("POST", "/elsewhere", headers=traced)
            assert (compat.status, passed.status) == (200, 200)

        recorded, waited, through = house.called
        assert through.headers["traceparent"] == TRACEPARENT
        spans = [tracing.parse(call.headers["traceparent"].encode()) for call in (recorded, waited, house.asked[0])]
        assert all(span is not None and span.trace_id == TRACE for span in spans)
        assert len({PARENT, *(span.span_id for span in spans if span is not None)}) == 4
        assert {call.headers["tracestate"] for call in (recorded, waited, through)} == {"congo=t61rcWkgMzE"}

        def lines() -> list[dict[str, Any]]:
            told = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
            return [line for line in told if line.get("process") == accepted.json()["id"]]

        await eventually(lambda: {line["event"] for line in lines()} >= {"request", "attempt"}, what="the lines")
        (request,) = [line for line in lines() if line["event"] == "request"]
        (attempt,) = [line for line in lines() if line["event"] == "attempt"]
        assert (request["traceId"], request["parentSpanId"]) == (TRACE, PARENT)
        assert (attempt["traceId"], attempt["parentSpanId"]) == (TRACE, request["spanId"])
        assert spans[0] is not None
        assert attempt["spanId"] == spans[0].span_id
