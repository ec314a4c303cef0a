"""What the garbage collector finds behind requests: what keeps who keeps it is freed late, and by a search."""

from __future__ import annotations

import gc

from tests.front.scene import Scene

EXCHANGES = 8


async def test_a_request_that_passes_through_is_freed_without_the_garbage_collector() -> None:
    async with Scene() as scene:
        client = await scene.client()

        async def exchange() -> None:
            client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
            await upstream.until(b"hello")
            upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            assert (await client.reply()).body == b"ok"

        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        upstream = await scene.legacy.accept()
        await upstream.head()
        upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        await client.reply()
        await exchange()
        gc.collect()
        gc.disable()
        try:
            for _ in range(EXCHANGES):
                await exchange()
            assert gc.collect() < EXCHANGES
        finally:
            gc.enable()
