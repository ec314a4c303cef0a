"""What strangler is held against: aiohttp alone, doing less.

Run as ``python -m bench.baselines answer PORT`` (reads the body and answers; stores nothing) or
``python -m bench.baselines proxy PORT UPSTREAM_PORT`` (the usual reverse proxy in aiohttp).
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict

STATUS_DOCUMENT = (
    b'{"id": "01966b6e-0000-7000-8000-000000000000", "type": "submit-claim", "state": "completed", '
    b'"status": "COMPLETED", "effect": "applied", "createdAt": "2026-11-21T10:00:00.000Z", '
    b'"updatedAt": "2026-11-21T10:00:01.000Z", "finishedAt": "2026-11-21T10:00:01.000Z", '
    b'"deadlineAt": "2026-11-22T10:00:00.000Z", "correlationId": "01966b6e-0000-7000-8000-000000000000", '
    b'"version": 3, "result": {"status": 200, "contentType": "application/json", "length": 95}}'
)
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})


async def answer(request: web.BaseRequest) -> web.Response:
    """202 to who brings something, a document to who asks."""
    if request.method == "GET":
        return web.Response(body=STATUS_DOCUMENT, content_type="application/json")
    await request.read()
    return web.Response(status=202, body=b"{}", content_type="application/json")


class Proxy:
    """Streams both ways through `aiohttp.ClientSession`."""

    def __init__(self, session: aiohttp.ClientSession, upstream: str) -> None:
        self.session = session
        self.upstream = upstream

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """One exchange."""
        headers = CIMultiDict((n, v) for n, v in request.headers.items() if n.lower() not in _HOP_BY_HOP)
        async with self.session.request(
            request.method,
            self.upstream + request.raw_path,
            headers=headers,
            data=request.content if request.body_exists else None,
            allow_redirects=False,
        ) as reply:
            kept = CIMultiDict((n, v) for n, v in reply.headers.items() if n.lower() not in _HOP_BY_HOP)
            response = web.StreamResponse(status=reply.status, headers=kept)
            await response.prepare(request)
            async for chunk in reply.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response


async def _main(kind: str, port: int, upstream_port: int | None) -> None:
    loop = asyncio.get_running_loop()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        handler = answer if kind == "answer" else Proxy(session, f"http://127.0.0.1:{upstream_port}")
        server = await loop.create_server(web.Server(handler, access_log=None), "127.0.0.1", port, backlog=4096)
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None))
