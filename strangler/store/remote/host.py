"""The end of who owns the store: serves the workers that are connected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

from strangler.domain.errors import StoreUnavailable
from strangler.ports import Committed, Full, Lease, QueueLimit, Verdict
from strangler.store.remote.frames import Frames, Message, frame
from strangler.store.remote.messages import Told, pack_verdict, unpack_item
from strangler.store.sqlite.store import SqliteStore

_SLOW = 1024 * 1024  # bytes that wait for a worker, above which it is told no news


class Guest(asyncio.Protocol):
    """One connected worker."""

    def __init__(self, host: Host) -> None:
        self.owner = ""  # the owner of its lease, once it has said so
        self.missed = False  # news was kept from it
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._frames = Frames()
        self._outgoing: list[Message] = []
        self._transport: asyncio.Transport | None = None

    @property
    def slow(self) -> bool:
        """Whether it does not take what it is told: it is frozen, or very busy."""
        return self._transport is not None and self._transport.get_write_buffer_size() > _SLOW

    def tell(self, *message: Any) -> None:
        """Say something; all of one turn of the loop goes out as one frame."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(message)

    def close(self) -> None:
        """End the connection, after what was said."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._transport = cast(asyncio.Transport, transport)
        self._host.guests.add(self)
        self.tell("welcome")  # the socket may listen while nobody is behind it

    def connection_lost(self, error: Exception | None) -> None:
        """It is gone."""
        self._transport = None
        self._host.guests.discard(self)
        self._host.left(self)

    def resume_writing(self) -> None:
        """It takes what it is told again."""
        self._host.caught_up(self)

    def data_received(self, data: bytes) -> None:
        """It asks, or says, something."""
        for message in self._frames.feed(data):
            match message:
                case ("commit", number, item, told, within):
                    self._commit(number, item, Told._make(told) if told is not None else None, within)
                case ("call", number, name, values):
                    self._call(number, self._host.calls[name], values)
                case _:
                    self._host.heard(self, message)

    def _commit(self, number: int, item: Any, told: Told | None, within: tuple[int, int] | None) -> None:
        coming = told if within is not None else None
        if coming is not None and within is not None and not self._host.let_in(coming, QueueLimit._make(within)):
            self.tell("done", number, pack_verdict(Full()))
            return
        future = self._host.store.submit(unpack_item(item))
        future.add_done_callback(partial(self._committed, number, told, coming))

    def _committed(self, number: int, told: Told | None, coming: Told | None, future: asyncio.Future[Verdict]) -> None:
        if coming is not None:
            self._host.came(coming)
        error = future.exception()
        if error is not None:
            self._failed(number, error)
            return
        verdict = future.result()
        if told is not None and isinstance(verdict, Committed):
            try:
                self._host.committed(self, told)
            except Exception as defect:
                # A defect of ours. It is on disk all the same, and whoever committed it waits for that word.
                self._host.failed("notify", defect)
        self.tell("done", number, pack_verdict(verdict))

    def _call(self, number: int, method: Callable[..., Awaitable[Any]], values: tuple[Any, ...]) -> None:
        future = asyncio.ensure_future(method(*values))
        future.add_done_callback(partial(self._called, number))

    def _called(self, number: int, future: asyncio.Future[Any]) -> None:
        error = future.exception()
        if error is not None:
            self._failed(number, error)
        else:
            self.tell("done", number, future.result())

    def _failed(self, number: int, error: BaseException) -> None:
        self.tell("failed", number, "unavailable" if isinstance(error, StoreUnavailable) else "defect", str(error))

    def _flush(self) -> None:
        if self._transport is not None and self._outgoing:
            self._transport.write(frame(self._outgoing))
        self._outgoing = []


class Host:
    """All connected workers. Whoever serves them beside the store overrides the methods that do nothing here."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.guests: set[Guest] = set()
        self.calls: dict[str, Callable[..., Awaitable[Any]]] = {
            "write_chunk": store.write_chunk,
            "discard_chunks": store.discard_chunks,
            "renew": lambda *lease: self.renew(Lease._make(lease)),
            "resign": store.resign,
            "sweep": store.sweep,
            "save": store.save,
        }

    def guest(self) -> Guest:
        """The protocol of a new connection."""
        return Guest(self)

    async def renew(self, lease: Lease) -> int | None:
        """A worker renews its lease; see `Upkeep.renew`."""
        await self.store.renew(lease)
        return None

    def let_in(self, told: Told, within: QueueLimit) -> bool:
        """Whether one process more may wait; if so, `came` says when its commit has come to something."""
        return True

    def came(self, told: Told) -> None:
        """What was let in is on disk and waits, or it never will."""

    def committed(self, guest: Guest, told: Told) -> None:
        """A change of a worker is on disk."""

    def failed(self, where: str, error: Exception) -> None:
        """A defect behind a commit, which is on disk."""

    def heard(self, guest: Guest, message: Message) -> None:
        """A worker says something that is not for the store."""

    def caught_up(self, guest: Guest) -> None:
        """A worker that was slow takes what it is told again."""

    def left(self, guest: Guest) -> None:
        """A connection is gone."""
