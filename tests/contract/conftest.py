"""One server and one legacy system for all sentences of the contract that are held here."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.engine.tokens import ISSUER, Signer
from tests.harness.client import Client, Reply
from tests.harness.legacy import Legacy
from tests.harness.server import Server

POLICY = """
upstreams:
  legacy: {{url: "{url}"}}
  gone: {{url: "http://127.0.0.1:1"}}
receivers:
  partners:
    allow: ["https://127.0.0.1:9", "https://*.partner.example"]
    networks: [127.0.0.0/8]
    secrets: ["{secret}"]
    callers: ["partner-*"]
routes:
  - {{name: async, match: {{path: /async, methods: [POST]}}, upstream: legacy, mode: async}}
  - {{name: async-waits, match: {{path: /async-waits, methods: [POST]}}, upstream: legacy, mode: async, wait: 1s}}
  - {{name: ignores, match: {{path: /ignores, methods: [POST]}}, upstream: legacy, mode: async, prefer: ignore}}
  - {{name: compat, match: {{path: /compat, methods: [POST]}}, upstream: legacy, mode: compat, wait: 2s}}
  - name: strict
    match: {{path: /strict, methods: [POST]}}
    upstream: legacy
    mode: async
    accept:
      schema: claim.schema.json
      content_types: [application/json]
      require_headers: [X-Channel]
      max_body: 1KiB
      idempotency: {{required: true}}
  - name: reports
    match: {{path: /reports, methods: [POST]}}
    upstream: legacy
    mode: async
    accept:
      enforce: report
      schema: claim.schema.json
      content_types: [application/json]
      require_headers: [X-Channel]
      idempotency: {{required: true}}
  - {{name: one, match: {{path: /one, methods: [POST]}}, upstream: legacy, mode: async, call: {{concurrency: 1}}}}
  - {{name: queue, match: {{path: /queue, methods: [POST]}}, upstream: legacy, mode: async, call: {{concurrency: 1}}}}
  - {{name: brief, match: {{path: /brief, methods: [POST]}}, upstream: legacy, mode: async, process: {{retain: 2s}}}}
  - name: late
    match: {{path: /late, methods: [POST]}}
    upstream: gone
    mode: async
    process: {{deadline: 1s}}
    call: {{backoff: {{initial: 250ms}}}}
  - name: gives-up
    match: {{path: /gives-up, methods: [POST]}}
    upstream: legacy
    mode: compat
    call: {{on_in_doubt: fail}}
  - name: guarded
    match: {{path: /guarded, methods: [POST]}}
    upstream: gone
    mode: async
    public_url: "https://public.example"
    process: {{resource: /guarded-processes}}
    accept: {{schema: claim.schema.json, require_headers: [X-Channel], max_body: 1KiB, idempotency: {{required: true}}}}
    access: {{name: "header:X-Client", jwt: {{jwks: keys.json, issuer: "{issuer}", audience: claims}}}}
    callbacks: {{receivers: [partners], header: X-Callback-Url, body: body.callback}}
    limits: {{accepts: 1/d, by: "header:X-Client"}}
    call: {{queue: 1}}
  - name: curious
    match: {{path: /curious, methods: [POST]}}
    upstream: legacy
    mode: async
    public_url: "https://public.example"
    process: {{resource: /curious-processes, references: {{policy: body.policy, public: [policy]}}}}
    access: {{name: "header:X-Client", jwt: {{jwks: keys.json, issuer: "{issuer}", audience: claims}}}}
    callbacks: {{receivers: [partners], header: X-Callback-Url, body: body.callback}}
default: {{upstream: legacy}}
"""
SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["amount"],
    "properties": {"amount": {"type": "integer"}},
}


class Counter:
    """Where requests are handed in."""

    def __init__(self, legacy: Legacy, client: Client) -> None:
        self.legacy = legacy
        self.client = client

    async def post(self, path: str, body: bytes = b"{}", script: str = "", **headers: str) -> Reply:
        """A POST; ``X_Channel="web"`` is the header ``X-Channel: web``."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if script:
            sent["X-Legacy"] = script
        return await self.client.request("POST", path, body=body, headers=sent)


class Place:
    """The two processes of this folder's tests."""

    def __init__(self, directory: Path) -> None:
        (directory / "claim.schema.json").write_text(json.dumps(SCHEMA))
        self.signer = Signer("key-1")
        (directory / "keys.json").write_text(json.dumps({"keys": [self.signer.published()]}))
        self.legacy = Legacy(directory)
        policy = POLICY.format(url=self.legacy.url, issuer=ISSUER, secret=SECRET)
        self.server = Server(directory, policy, options=["--max-head", "4KiB"])

    async def open(self) -> None:
        await self.legacy.start()
        await self.server.start()

    async def close(self) -> None:
        await self.server.kill()
        await self.legacy.kill()


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("contract"))
    try:
        asyncio.run(place.open())
        yield place
    finally:
        asyncio.run(place.close())


@pytest.fixture
async def counter(place: Place) -> AsyncIterator[Counter]:
    async with Client(place.server.url, "alice") as client:
        yield Counter(place.legacy, client)
