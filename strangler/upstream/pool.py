"""The connections for passthrough to one upstream: at most so many, and a queue that is bounded in length and time."""

from __future__ import annotations

import asyncio

from strangler.policy.upstreams import Upstream
from strangler.ports import Borrower, Failure, Trouble
from strangler.upstream.dial import Dialer
from strangler.upstream.idle import Idle
from strangler.upstream.link import UpstreamLink

WAITING_PER_CONNECTION = 4
"""So many requests may wait for each connection that there may be; past that a queue only adds to the delay."""


class Place:
    """One borrower's place in the queue."""

    __slots__ = ("borrower", "dialling", "fresh", "pool", "timer")

    def __init__(self, pool: Pool, borrower: Borrower, *, fresh: bool) -> None:
        self.pool = pool
        self.borrower = borrower
        self.fresh = fresh  # wants a connection that nobody used before
        self.dialling = False  # a connection is being opened for it; its timeout is that of connecting
        self.timer: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """Leave the queue."""
        self.pool.leave(self)


class Pool:
    """Lends links to one upstream."""

    def __init__(self, upstream: Upstream, max_head: int) -> None:
        self.upstream = upstream
        self._max_head = max_head
        self._dialer = Dialer(upstream)
        self._idle = Idle(upstream.keepalive)
        self._open = 0  # being opened, lent and idle
        self._queue: dict[Place, None] = {}  # in order of arrival
        self._dials: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def ended(self) -> bool:
        """Whether it was closed, and nothing of it is in use any more."""
        return self._closed and not self._open  # who waits, waits for one of those

    def borrow(self, borrower: Borrower, *, fresh: bool = False) -> Place | None:
        """See `strangler.ports.Links`."""
        if not fresh:
            link = self._idle.take()
            if link is not None:
                borrower.lent(link)
                return None
        if len(self._queue) >= WAITING_PER_CONNECTION * self.upstream.max_connections:
            borrower.unavailable(Failure(Trouble.OVERLOADED, "too many requests wait for a connection to the upstream"))
            return None
        place = Place(self, borrower, fresh=fresh)
        self._queue[place] = None
        if self._open >= self.upstream.max_connections and self._idle:
            self._idle.oldest().abort()  # it has expired, or a fresh one is wanted: it makes room when it is gone
        if self._open < self.upstream.max_connections:
            self._dial(place)
        else:
            loop = asyncio.get_running_loop()
            place.timer = loop.call_later(self.upstream.queue_timeout, self._give_up, place)
        return place

    def leave(self, place: Place) -> None:
        """Forget a place."""
        if place.timer is not None:
            place.timer.cancel()
        self._queue.pop(place, None)

    def close(self) -> None:
        """Close what is idle now, and the rest as it comes back."""
        self._closed = True
        self._idle.close()

    def abandon(self) -> None:
        """Close, and let nobody wait any more: who still does is told, and what is being opened is given up."""
        self.close()
        for place in list(self._queue):
            self.leave(place)
            place.borrower.unavailable(Failure(Trouble.UNREACHABLE, "the server is going away"))
        for task in list(self._dials):
            task.cancel()

    # What links say.

    def returned(self, link: UpstreamLink) -> None:
        """Lend it to the next who waits, or keep it."""
        if self._closed:
            link.abort()
            return
        for place in self._queue:
            if not place.fresh:
                self._serve(place, link)
                return
        self._idle.put(link)

    def detached(self, link: UpstreamLink) -> None:
        """A tunnel makes room for another connection."""
        self._uncount(link)
        self._dial_next()

    def gone(self, link: UpstreamLink) -> None:
        """Make room."""
        self._idle.forget(link)
        if link.counted:
            self._uncount(link)
            self._dial_next()

    def _uncount(self, link: UpstreamLink) -> None:
        link.counted = False
        self._open -= 1

    # Opening connections.

    def _dial(self, place: Place) -> None:
        place.dialling = True
        if place.timer is not None:
            place.timer.cancel()
        self._open += 1
        task = asyncio.get_running_loop().create_task(self._open_link(place))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _open_link(self, place: Place) -> None:
        try:
            opened = await self._dialer.open(lambda: UpstreamLink(self, self._max_head))
        except BaseException:
            # A defect, or the end of all: whoever waits is told, and the room goes to the next one.
            self._not_opened(place, Failure(Trouble.UNREACHABLE, "the connection to the upstream could not be opened"))
            raise
        if isinstance(opened, Failure):
            self._not_opened(place, opened)
            return
        opened.counted = True
        if place in self._queue:
            self._serve(place, opened)
        else:
            self.returned(opened)  # its place was served by another link, or given up

    def _not_opened(self, place: Place, why: Failure) -> None:
        self._open -= 1
        if place in self._queue:
            self.leave(place)
            place.borrower.unavailable(why)
        self._dial_next()

    def _dial_next(self) -> None:
        """There is room for a connection: open one for the first who waits without."""
        for place in self._queue:
            if not place.dialling:
                self._dial(place)
                return

    def _serve(self, place: Place, link: UpstreamLink) -> None:
        self.leave(place)
        place.borrower.lent(link)

    def _give_up(self, place: Place) -> None:
        self.leave(place)
        limit = self.upstream.queue_timeout
        place.borrower.unavailable(
            Failure(Trouble.OVERLOADED, f"no connection to the upstream became free within {limit:g} s")
        )
