"""A TCP relay that loses, cuts and delays what goes through it."""

from __future__ import annotations

import asyncio
import socket
import struct

from tests.harness.waiting import free_port


class FaultProxy:
    """Stands between the server and the legacy system; its fields may be changed at any time."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.target_port = target_port
        self.cut_after_sent: int | None = None  # bytes towards the legacy system, then both sides are reset
        self.cut_after_received: int | None = None  # bytes towards the server, then both sides are reset
        self.swallow = False  # what comes is read and goes nowhere
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Base of its listener."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Refuse connections from now on, and drop those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        sides = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
            sides.append(far_writer)
            there = asyncio.create_task(self._pump(reader, far_writer, "cut_after_sent", sides))
            back = asyncio.create_task(self._pump(far_reader, writer, "cut_after_received", sides))
            try:
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                there.cancel()
                back.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            for side in sides:
                side.close()
            self._tasks.discard(task)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limit_name: str,
        sides: list[asyncio.StreamWriter],
    ) -> None:
        passed = 0
        while data := await reader.read(65536):
            limit: int | None = getattr(self, limit_name)
            if self.swallow:
                continue
            if limit is not None and passed + len(data) >= limit:
                writer.write(data[: limit - passed])
                await writer.drain()
                for side in sides:
                    # The far end must first have what was to arrive: a reset would throw it away with the rest.
                    if side is not writer:
                        _reset(side)
                return
            writer.write(data)
            passed += len(data)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    end = writer.get_extra_info("socket")
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
