"""What a client can follow: the event streams, the socket, and the tickets for both."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from functools import partial

from strangler.domain import instant
from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import Answer, Channel, Header, Request, Upgrade
from strangler.domain.problem import SOURCE, problem
from strangler.domain.process import Process
from strangler.engine.document import process_url, socket_url
from strangler.engine.identity import source_value
from strangler.engine.instrument import Instrument
from strangler.engine.queries import Queries
from strangler.engine.streams import Streams
from strangler.engine.tickets import Tickets
from strangler.gateway.access import vary
from strangler.gateway.cancelling import Cancelling
from strangler.gateway.events import Events
from strangler.gateway.reading import Read
from strangler.gateway.socket import Socket, handshake
from strangler.policy.model import Promise

TICKETED = frozenset({b"/events", b"/socket"})
"""What a ticket opens, under a process."""


class Live:
    """Answers requests for streams, sockets and tickets."""

    def __init__(
        self,
        streams: Streams,
        tickets: Tickets,
        queries: Queries,
        cancelling: Cancelling,
        instrument: Instrument,
        written: Callable[[Process, Promise, bool], bytes],
    ) -> None:
        self._streams = streams
        self._tickets = tickets
        self._queries = queries
        self._cancelling = cancelling
        self._instrument = instrument
        self._written = written
        self._events = Events(streams)
        self._sockets = 0

    def open_streams(self) -> Mapping[str, int]:
        """How many clients follow, by how they do."""
        return {"events": self._events.open, "list": self._events.open_lists, "socket": self._sockets}

    def admits(self, request: Request, process_id: str) -> bool:
        """Whether a request bears a ticket for a process."""
        ticket = source_value(request, "query:ticket")
        return ticket is not None and self._tickets.admits(ticket, process_id)

    async def events(self, read: Read) -> Answer:
        """``GET R/{id}/events``."""
        self._instrument.polled(read.process.route, "events")
        answer = self._events.of_process(read, partial(self._document, read))
        names = vary(read.promise.access)
        if names:
            answer.headers.append((b"Vary", names))
        return answer

    def list(
        self,
        request: Request,
        resource: str,
        callers: Collection[str],
        promised: Callable[[Process], Promise],
        shown: Callable[[Process], bool],
    ) -> Answer:
        """``GET R/events``; what is not to be shown is left out."""
        self._instrument.polled("", "events")

        def document(process: Process, newest: bool) -> bytes:
            return self._document(Read(request, process, promised(process)), process, newest)

        return self._events.of_callers(request, resource, callers, document, shown)

    async def socket(self, read: Read) -> Answer | Upgrade:
        """``GET R/{id}/socket``."""
        accepted = handshake(read.request)
        if isinstance(accepted, Answer):
            return accepted
        if self._cancelling.foreign(read):
            return problem("forbidden", "a cookie is taken from pages of this origin only")
        self._instrument.polled(read.process.route, "socket")
        return Upgrade(b"websocket", accepted, partial(self._converse, read))

    async def ticket(self, read: Read) -> Answer:
        """``POST R/{id}/ticket``."""
        ticket = self._tickets.issue(read.process.id)
        url, query = process_url(read.process), f"?ticket={ticket.text}"
        document = {
            "ticket": ticket.text,
            "expiresAt": instant.to_text(ticket.expires_at),
            "events": f"{url}/events{query}",
            "socket": f"{socket_url(url)}{query}",
        }
        headers: list[Header] = [(b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store"), SOURCE]
        return Answer(200, headers, json.dumps(document, separators=(",", ":")).encode())

    async def _converse(self, read: Read, channel: Channel) -> None:
        self._sockets += 1
        try:
            render, cancel = partial(self._document, read), partial(self._cancel, read)
            await Socket(channel, self._streams, read, render, cancel).converse()
        finally:
            self._sockets -= 1

    async def _cancel(self, read: Read) -> Answer | None:
        try:
            process = await self._queries.find(read.process.id)
            if isinstance(process, Process):
                cancelled = await self._cancelling.cancel(read._replace(process=process))
                return cancelled if isinstance(cancelled, Answer) else None
        except StoreUnavailable:
            return problem("store-unavailable", "the record cannot be read or written now")
        return None

    def _document(self, read: Read, process: Process, newest: bool) -> bytes:
        # What an earlier version could be asked for is not served any more.
        cancel = newest and process.cancellable and self._cancelling.may(read)
        return self._written(process, read.promise, cancel)
