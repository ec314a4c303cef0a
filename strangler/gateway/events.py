"""Server-Sent Events (the HTML standard, section 9.2): a process, or all of a caller's, as a stream of documents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import aclosing

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import Answer, Header, Request
from strangler.domain.last_piece import LastPiece
from strangler.domain.problem import SOURCE
from strangler.domain.process import Process
from strangler.engine.streams import Batch, Streams
from strangler.gateway.reading import Read

BEAT = 15.0
"""Seconds between two comments, by which a proxy on the way sees that the stream is in use."""

_RETRY = b"retry: 3000\n"
_COMMENT = b":\n"
_STREAM: tuple[Header, ...] = (
    (b"Content-Type", b"text/event-stream"),
    (b"Cache-Control", b"no-cache, no-transform"),
    (b"X-Accel-Buffering", b"no"),
    SOURCE,
)
_MOST_DIGITS = 9

Render = Callable[[Process, bool], bytes]
"""The status document of a process for whoever asked; whether it still is what the process is like now."""


class Events:
    """Answers with event streams. ``open`` and ``open_lists`` count those under way."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self.open = 0
        self.open_lists = 0

    def of_process(self, read: Read, render: Render) -> Answer:
        """The stream of one process; 204 where the client knows its end, which ends a browser's reconnecting."""
        process = read.process
        seen = last_version(read.request)
        if seen is not None and seen > process.version:
            seen = None  # it never saw that here
        if process.final and seen == process.version:
            return Answer(204, [(b"Cache-Control", b"no-store"), SOURCE])
        return Answer(200, [*_STREAM], self._process(process, seen, render))

    def of_callers(
        self,
        request: Request,
        resource: str,
        callers: Collection[str],
        render: Render,
        shown: Callable[[Process], bool],
    ) -> Answer:
        """The stream of all processes of a caller that are to be shown; it has no end."""
        given = request.field(b"last-event-id")
        mark = given.decode("latin-1") if given else None
        return Answer(200, [*_STREAM], self._callers(resource, callers, mark, render, shown))

    async def _process(self, process: Process, seen: int | None, render: Render) -> AsyncIterator[bytes]:
        self.open += 1
        try:
            # Without an empty line, which would have some clients take this for an event.
            before = _RETRY
            async with aclosing(self._streams.of_process(process, seen, BEAT)) as batches:
                async for batch in batches:
                    yield _piece(before, batch, render)
                    before = b""
        except StoreUnavailable:
            return  # the client comes back, and goes on after what it has
        finally:
            self.open -= 1

    async def _callers(
        self,
        resource: str,
        callers: Collection[str],
        mark: str | None,
        render: Render,
        shown: Callable[[Process], bool],
    ) -> AsyncIterator[bytes]:
        self.open_lists += 1
        try:
            before = _RETRY
            async with aclosing(self._streams.of_callers(resource, callers, mark, BEAT)) as batches:
                told: str | None = None
                async for batch in batches:
                    batch = batch._replace(news=[one for one in batch.news if shown(one.process)])
                    yield before + _batch(batch, told, render)
                    before, told = b"", batch.mark or told
        except StoreUnavailable:
            return
        finally:
            self.open_lists -= 1


def last_version(request: Request) -> int | None:
    """The version that a client has, by ``Last-Event-ID``; None: it says none, or nothing that we gave it."""
    given = request.field(b"last-event-id")
    return int(given) if given is not None and given.isdigit() and len(given) <= _MOST_DIGITS else None


def _piece(before: bytes, batch: Sequence[Process], render: Render) -> bytes:
    """Changes of one process; without any, a comment."""
    if not batch:
        return before + _COMMENT
    newest = batch[-1]
    events = [_event(process, process is newest, str(process.version), render) for process in batch]
    return LastPiece(before + b"".join(events)) if newest.final else before + b"".join(events)


def _batch(batch: Batch, told: str | None, render: Render) -> bytes:
    """Changes of some processes. ``told``: the mark that the client has."""
    if not batch.news:
        # An event without data is not dispatched, and its id counts all the same.
        return _COMMENT if batch.mark in (None, told) else b"id: %b\n\n" % str(batch.mark).encode()
    *others, last = batch.news
    events = [_event(one.process, one.newest, one.mark, render) for one in others]
    return b"".join((*events, _event(last.process, last.newest, last.mark or batch.mark, render)))


def _event(process: Process, newest: bool, mark: str | None, render: Render) -> bytes:
    """One event. A document is one line: JSON escapes line breaks."""
    name = b"final" if process.final else b"state"
    identity = b"" if mark is None else b"id: %b\n" % mark.encode()
    return b"%bevent: %b\ndata: %b\n\n" % (identity, name, render(process, newest))
