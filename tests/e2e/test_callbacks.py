"""A callback from a real server to a real socket; and what of its secrets is left behind."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks.webhooks import Webhook

from tests.channels.callbacks.scene import RawReceiver, listening
from tests.harness.server import Server
from tests.harness.waiting import eventually

APPROVED = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"claim": "C-1"}'
POLICY = """\
upstreams: {{legacy: {{url: "http://127.0.0.1:{legacy}"}}}}
receivers:
  partners:
    allow: ["http://127.0.0.1:{hooks}"]
    networks: [127.0.0.1/32]
    secrets: ["{literal}", "${{file:secret}}", "${{secret-env:CALLBACK_SECRET}}"]
    payload: result
routes:
  - name: claims
    match: {{path: /claims, methods: [POST]}}
    upstream: legacy
    mode: async
    public_url: "https://public.example/base"
    process: {{resource: /claim-submissions, type: ClaimSubmission}}
    callbacks: {{receivers: [partners], header: X-Callback-Url}}
"""


def a_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@pytest.fixture
async def legacy() -> AsyncIterator[RawReceiver]:
    async with listening(APPROVED) as legacy:
        yield legacy


@pytest.fixture
async def hooks() -> AsyncIterator[RawReceiver]:
    async with listening() as hooks:
        yield hooks


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_callback_is_verified_by_each_secret_and_none_of_them_is_printed_or_stored(
    tmp_path: Path, legacy: RawReceiver, hooks: RawReceiver, workers: str
) -> None:
    literal, of_file, of_environment = known = [a_secret() for _ in range(3)]
    (tmp_path / "secret").write_text(of_file + "\n")
    policy = POLICY.format(legacy=legacy.port, hooks=hooks.port, literal=literal)
    server = Server(tmp_path, policy, options=("--workers", workers), environment={"CALLBACK_SECRET": of_environment})
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            refused = {"X-Callback-Url": "http://127.0.0.1:1/"}
            async with session.post(f"{server.url}/claims", json={}, headers=refused) as reply:
                assert (reply.status, (await reply.json())["code"]) == (422, "callback-not-allowed")
            named = {"X-Callback-Url": f"http://127.0.0.1:{hooks.port}/hooks?x=1", "Idempotency-Key": "k-1"}
            async with session.post(f"{server.url}/claims", json={"policy": "P-1"}, headers=named) as reply:
                assert reply.status == 202
                process = (await reply.json())["id"]
        await asyncio.wait_for(hooks.came.wait(), 15)
        (seen,) = hooks.requests
        assert seen.line == "POST /hooks?x=1 HTTP/1.1"
        for secret in known:
            told = Webhook(secret).verify(seen.body, seen.headers)
        assert told["type"] == "ClaimSubmission.completed"
        assert told["data"]["id"] == process
        assert told["data"]["links"]["self"] == f"https://public.example/base/claim-submissions/{process}"
        assert "idempotencyKey" not in told["data"]
        assert told["data"]["reply"]["status"] == 200
        assert json.loads(told["data"]["reply"]["body"]) == {"claim": "C-1"}
        event = from_http_event(HTTPMessage(headers=dict(seen.headers), body=seen.body))
        assert event.get_source() == "https://public.example/base/claim-submissions"
        assert (event.get_id(), event.get_subject()) == (seen.headers["webhook-id"], process)
        # A policy that does not load is told of, and what is wrong with a secret is, too.
        server.policy.write_text(policy.replace(literal, literal + "x"))
        await eventually(lambda: "secrets[0]" in server.tail(), what="the wrong secret is told of")
    finally:
        await server.stop()
    for file in tmp_path.iterdir():
        if file.name in ("secret", server.policy.name) or not file.is_file():
            continue
        # The first line of the log is how the test started it.
        content = file.read_bytes().partition(b"\n")[2] if file == server.log else file.read_bytes()
        for secret in known:
            shown = secret.removeprefix("whsec_")
            assert shown.encode() not in content, file.name
            assert base64.b64decode(shown) not in content, file.name
