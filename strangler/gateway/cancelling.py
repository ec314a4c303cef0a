"""Cancelling a process for a client: whether it may, and what stands in the way."""

from __future__ import annotations

from functools import partial

from strangler.domain.exchange import Answer
from strangler.domain.problem import problem
from strangler.domain.process import Process
from strangler.engine.commands import Commands
from strangler.engine.document import process_url
from strangler.gateway.access import foreign_page, may_cancel
from strangler.gateway.cors import Cors
from strangler.gateway.reading import Read


class Cancelling:
    """Cancels processes for clients, by ``DELETE`` and over a socket."""

    def __init__(self, commands: Commands, cors: Cors, identity_key: bytes) -> None:
        self._commands = commands
        self._cors = cors
        self._key = identity_key

    async def cancel(self, read: Read) -> Process | Answer:
        """The process as it is then: cancelled, or ended before; or the problem.

        Raises:
            StoreUnavailable: the store cannot record it; nothing changed.
        """
        process = read.process
        if self.foreign(read):
            return _refused(process, "forbidden", "a cookie is taken from pages of this origin only")
        if process.final:
            return process
        if not self.may(read):
            why = "a ticket only reads" if read.ticketed else "this route does not let you cancel it"
            return _refused(process, "not-cancellable", why)
        cancelled = await self._commands.cancel(process)
        if cancelled is None:
            return _refused(process, "not-cancellable", "it is with the legacy system already, or may be")
        return cancelled

    def may(self, read: Read) -> bool:
        """Whether the client may cancel the process, as far as access goes."""
        return not read.ticketed and may_cancel(read.request, read.process, read.promise.access, self._key)

    def foreign(self, read: Read) -> bool:
        """Whether the request may come from a page that nobody vouches for, with a cookie that the browser added."""
        trusted = partial(self._cors.trusts, read.process.resource)
        return not read.ticketed and foreign_page(read.request, read.process, read.promise.access, trusted)


def _refused(process: Process, name: str, detail: str) -> Answer:
    return problem(
        name,
        detail,
        correlation_id=process.correlation_id,
        process=process_url(process),
        effect=process.effect,
    )
