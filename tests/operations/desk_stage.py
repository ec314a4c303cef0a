"""A whole server in this process, with a slow legacy system behind it, and an operator's client that believes nothing:
every answer of the private listener is held against the document that the listener serves."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web
from jsonschema import Draft202012Validator

from strangler.config.settings import Address, Settings
from strangler.config.system import SystemClock
from strangler.domain.problem import TITLES
from strangler.operations.logs import Logs
from strangler.operations.telemetry import Telemetry
from strangler.runtime.server import Server
from strangler.store.open import open_store
from strangler.store.sealing import AesGcmSealer

KEY = b"k" * 32
POLICY = """
upstreams:
  legacy: {{url: "{legacy}", timeout: 1s}}
route_defaults:
  access: {{identity: ["header:X-Api-Key"], name: "header:X-Client"}}
routes:
  - name: submit-claim
    match: {{path: /claims, methods: [POST]}}
    upstream: legacy
    mode: async
    process:
      type: ClaimSubmission
      resource: /claim-submissions
      statuses: {{completed: SETTLED}}
      references:
        policyNumber: body.policyNumber
        claimNumber: reply.body.claimNumber
        public: [claimNumber]
    redact: {{headers: [X-Secret], pointers: [/iban]}}
    call: {{concurrency: 2}}
  - name: open-claim
    match: {{path: /open, methods: [POST]}}
    upstream: legacy
    mode: async
    access: {{identity: []}}
  - name: plain
    match: {{path: /plain}}
    upstream: legacy
"""


class Told(NamedTuple):
    """An answer of the private listener."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        return str(self.document["code"]) if self.status >= 400 else None


class Desk:
    """The server, and who asks it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store_url = f"sqlite:///{folder}/store.db"
        self.policy = folder / "routes.yaml"
        self.release = asyncio.Event()  # lets those go on that the legacy system holds
        self.called: list[dict[str, Any]] = []
        self.lines = bytearray()

    async def begin(self, legacy: str, policy: str, **settings: Any) -> None:
        self.policy.write_text(policy.format(legacy=legacy))
        self.settings = Settings(
            listen=(Address("127.0.0.1", 0),),
            ops=Address("127.0.0.1", 0),
            store=self.store_url,
            disk_reserve=0,
            drain_timeout=1.0,
            **settings,
        )
        clock = SystemClock()
        self.logs = Logs(self.lines.extend, form="json", level="debug")
        self.logs.start()
        telemetry = Telemetry(self.logs, version="1.2.3", started_at=clock.now())
        self.store = open_store(self.store_url, AesGcmSealer(KEY), clock)
        self.server = Server(self.settings, [self.policy], {}, self.store, KEY, telemetry)
        await self.server.start(self.server.policies.read())
        self.ops = self.server._operations.addresses[0]
        self.url = f"http://{self.server._rooms._site.listens[0]}"
        self.session = aiohttp.ClientSession()
        self.api = json.loads((await self._raw("GET", "/openapi.json")).body)

    async def end(self) -> None:
        self.release.set()
        await self.session.close()
        await self.server.drain()
        self.logs.close()

    @property
    def token(self) -> str:
        """The one of the command line of this machine."""
        return str(json.loads((self.folder / "store.db.ops-token").read_text())["token"])

    async def get(self, path: str, **query: Any) -> Told:
        return await self.ask("GET", path, query)

    async def post(self, path: str, body: Any = None, *, why: str | None = "a test") -> Told:
        body = {**({"why": why} if why is not None else {}), **(body or {})}
        return await self.ask("POST", path, body=body, token=self.token)

    async def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Told:
        """Ask, and hold the answer against the document."""
        given = {**(headers or {}), **({"Authorization": f"Bearer {token}"} if token is not None else {})}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        told = await self._raw(method, path, query, data, given)
        self.hold(method, path, told)
        return told

    def hold(self, method: str, path: str, told: Told) -> None:
        """Whether an answer is one that the document knows of."""
        operation = next(
            operations[method.lower()]
            for template, operations in self.api["paths"].items()
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) and method.lower() in operations
        )
        assert str(told.status) in operation["responses"], f"{method} {path}: {told.status} {told.body[:500]!r}"
        content = operation["responses"][str(told.status)]["content"]
        media_type = told.headers["Content-Type"].partition(";")[0]
        assert media_type in content, f"{method} {path}: {told.status} {media_type}"
        if "schema" in content[media_type]:
            schema = content[media_type]["schema"]
            reference = schema.get("$ref", "").rpartition("/")[2]
            schema = self.api["components"]["schemas"][reference] if reference else schema
            Draft202012Validator(schema).validate(told.document)
        if told.status >= 400 and media_type == "application/problem+json":
            assert TITLES[told.document["code"]][0] == told.status

    async def _raw(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Told:
        params = {name: str(value) for name, value in (query or {}).items()}
        async with self.session.request(
            method, f"http://{self.ops}{path}", params=params, data=data, headers=headers
        ) as answer:
            return Told(answer.status, answer.headers, await answer.read())

    # The client's side.

    async def submit(self, body: Mapping[str, Any] | None = None, path: str = "/claims", **headers: str) -> str:
        """The id of a process that was accepted."""
        given = {"X-Api-Key": "me", **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with self.session.post(self.url + path, json=body or {}, headers=given) as answer:
            assert answer.status == 202, await answer.text()
            return str((await answer.json())["id"])

    async def settled(self, process_id: str) -> dict[str, Any]:
        """A process once it is final or a person has to settle it."""
        async with asyncio.timeout(20):
            while True:
                document: dict[str, Any] = (await self.get(f"/processes/{process_id}")).document
                if document["state"] not in ("received", "processing"):
                    return document
                await asyncio.sleep(0.01)


@asynccontextmanager
async def a_desk(folder: Path, policy: str = POLICY, **settings: Any) -> AsyncIterator[Desk]:
    """A desk that is served."""
    desk = Desk(folder)

    async def legacy(request: web.Request) -> web.StreamResponse:
        data = await request.read()
        body = json.loads(data) if data.startswith(b"{") else {}
        desk.called.append({"path": request.path, "headers": dict(request.headers), "body": body})
        if body.get("hold"):
            await desk.release.wait()
        if body.get("hang_up"):
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"claimNumber": "C-17", "iban": "DE02"}, status=body.get("answer", 200))

    application = web.Application()
    application.router.add_route("*", "/{anything:.*}", legacy)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        await desk.begin(f"http://127.0.0.1:{runner.addresses[0][1]}", policy, **settings)
        try:
            yield desk
        finally:
            await desk.end()
    finally:
        await runner.cleanup()
