"""A follower that does not read, on a real socket: it is waited for, nothing piles up for it, and it is dropped."""

from __future__ import annotations

import asyncio
import itertools
import socket

import pytest

from strangler.domain.exchange import Answer, Request
from strangler.domain.process import Process
from strangler.ports import ListQuery
from tests.front.scene import Scene as FrontScene
from tests.gateway.following import all_events
from tests.gateway.scene import Scene


async def test_a_follower_that_does_not_read_is_waited_for_and_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    process = await scene.process()
    numbers, pages = itertools.count(), 0
    ended = asyncio.Event()

    async def endless(query: ListQuery) -> list[Process]:
        nonlocal pages
        pages += 1
        return [process._replace(id=f"01a3185c-5000-7000-8000-{next(numbers):012x}") for _ in range(query.limit)]

    async def follow(request: Request) -> Answer:
        answer = await all_events(scene)
        body = answer.body
        assert not isinstance(body, bytes)

        async def watched() -> object:
            try:
                async for piece in body:
                    yield piece
            finally:
                await body.aclose()  # type: ignore[attr-defined]
                ended.set()

        answer.body = watched()  # type: ignore[assignment]
        return answer

    monkeypatch.setattr(scene.store, "page", endless)
    async with FrontScene(settings={"body_idle_timeout": 0.3}) as front:
        front.ours[b"/all"] = follow
        connected = socket.create_connection(front.address)
        with connected:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connected.sendall(b"GET /all HTTP/1.1\r\nHost: h\r\n\r\n")
            await asyncio.wait_for(ended.wait(), 20)
        # The kernel takes some megabytes of 180 KiB pages before it is full; then no more is read for this client.
        assert pages < 100
        assert scene.resources.open_streams()["list"] == 0
        assert not scene.signals.watches
