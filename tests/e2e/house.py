"""An issuer of tokens and a legacy system in one, on a port of its own: what it says and knows a test can change."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Self

from aiohttp import web

from tests.engine.tokens import ISSUER, Signer
from tests.harness.waiting import free_port


class House:
    """Serves ``/keys``, ``/may`` and everything else, and keeps what was asked."""

    def __init__(self, *signers: Signer) -> None:
        self.port = free_port()
        self.signers = [*signers]
        self.may = 204  # what `/may` answers
        self.silent = asyncio.Event()  # set: `/may` answers
        self.silent.set()
        self.asked: list[web.BaseRequest] = []  # at `/may`
        self.called: list[web.BaseRequest] = []  # everything else
        self.fetched = 0
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """Base of its listener."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    async def up(self) -> None:
        """Listen."""
        self._runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def down(self) -> None:
        """Refuse connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/keys":
            self.fetched += 1
            return web.json_response({"keys": [signer.published() for signer in self.signers]})
        if request.path == "/may":
            self.asked.append(request)
            await self.silent.wait()
            headers = {"WWW-Authenticate": 'Negotiate realm="legacy"'} if self.may == 401 else {}
            return web.Response(status=self.may, headers=headers, text="" if self.may == 204 else "says the legacy")
        await request.read()
        self.called.append(request)
        return web.Response(text="done")


def bearer(signer: Signer, **claims: Any) -> dict[str, str]:
    """The header that bears a token of the issuer, for alice, good for an hour."""
    whole = {"iss": ISSUER, "aud": "claims", "exp": int(time.time()) + 3600, **claims}
    return {"Authorization": f"Bearer {signer.token(**whole).decode()}"}
