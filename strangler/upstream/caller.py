"""Recorded calls: sent once, and told exactly what became of them."""

from __future__ import annotations

from collections.abc import Callable

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import Fault, FaultKind, Hindrance
from strangler.engine.failpoint import reach
from strangler.policy.upstreams import Upstream
from strangler.ports import Failure, Outgoing, ReplySink, Trouble
from strangler.upstream.call import Call
from strangler.upstream.dial import Dialer
from strangler.upstream.idle import Idle
from strangler.upstream.link import UpstreamLink

FRESH = 0.2
"""Seconds for which a connection may have been idle and still counts as fresh: a server that closes idle connections
after a second or more has surely not begun to close it."""

# Methods of which a server expects no body; any other says so by a length of 0 (RFC 9110 section 8.6).
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "TRACE"})


class _Lane:
    """The idle connections for recorded calls to one upstream. Those in use are bounded by ``call.concurrency``."""

    def __init__(self, upstream: Upstream, max_head: int) -> None:
        self.upstream = upstream
        self._max_head = max_head
        self._idle = Idle(upstream.keepalive)
        self._dialer = Dialer(upstream)
        self._closed = False

    def idle(self, *, fresh: bool) -> UpstreamLink | None:
        """A link that waits for work, if there is one."""
        return self._idle.take(FRESH if fresh else None)

    async def open(self) -> UpstreamLink | Failure:
        """A new link, or why there is none."""
        return await self._dialer.open(lambda: UpstreamLink(self, self._max_head))

    def returned(self, link: UpstreamLink) -> None:
        """Keep it."""
        if self._closed:
            link.abort()
        else:
            self._idle.put(link)

    def detached(self, link: UpstreamLink) -> None:
        """A recorded call asks for no tunnel."""

    def gone(self, link: UpstreamLink) -> None:
        """Forget it."""
        self._idle.forget(link)

    def close(self) -> None:
        """Close what is idle."""
        self._closed = True
        self._idle.close()


class Caller:
    """See `strangler.ports.UpstreamCaller`.

    Args:
        max_head: bytes of a reply's head at most.
    """

    def __init__(self, *, max_head: int) -> None:
        self._max_head = max_head
        self._lanes: dict[str, _Lane] = {}

    async def call(
        self,
        upstream: Upstream,
        request: Outgoing,
        sink: ReplySink,
        *,
        timeout: float,
        may_send: Callable[[], bool],
        fresh: bool,
    ) -> Fault | None:
        """See `strangler.ports.UpstreamCaller`. What the sink raises is raised again, and the connection closed."""
        body = request.body
        try:
            first = body.data if body.data is not None else await request.read_chunk(0) if body.chunks else b""
        except (StoreUnavailable, KeyError) as error:
            why = f"the recorded body cannot be read: {type(error).__name__}"
            return Fault(FaultKind.NOT_SENT, why, ours=Hindrance.STORE)
        lane = self._lane(upstream)
        link = lane.idle(fresh=fresh) or await lane.open()
        if isinstance(link, Failure):
            return Fault(FaultKind.NOT_SENT, link.reason, timeout=link.trouble is Trouble.TIMEOUT)
        if not may_send():
            link.abort()
            return Fault(FaultKind.NOT_SENT, "the right to send ran out before the first byte", ours=Hindrance.LEASE)
        reach("before-first-byte")
        # From here to the first write nothing is awaited: no time passes between the question and the byte.
        return await Call(link, request, sink, timeout).run(request_head(request), first)

    def close(self) -> None:
        """Close all connections that are idle, and the others when they come back."""
        for lane in self._lanes.values():
            lane.close()

    def _lane(self, upstream: Upstream) -> _Lane:
        lane = self._lanes.get(upstream.name)
        # Mostly it is the same object: comparing two field by field costs more than the rest of this.
        if lane is None or (lane.upstream is not upstream and lane.upstream != upstream):
            if lane is not None:
                lane.close()
            lane = self._lanes[upstream.name] = _Lane(upstream, self._max_head)
        return lane


def request_head(request: Outgoing) -> bytes:
    """The head of a recorded request."""
    lines = [b"%b: %b" % header for header in request.headers]
    if request.body.size or request.method not in _BODILESS:
        lines.append(b"Content-Length: %d" % request.body.size)
    start = b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.target)
    return b"\r\n".join((start, *lines, b"", b""))
