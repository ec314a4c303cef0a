"""``limits.polls``: how often a client may ask for its processes; and the fields that tell a client what it has left.

RateLimit and RateLimit-Policy as in draft-ietf-httpapi-ratelimit-headers-10: ``RateLimit-Policy: "polls";q=10;w=1``,
``RateLimit: "polls";r=7;t=1``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from strangler.domain.exchange import Answer, Header, Request
from strangler.domain.problem import problem
from strangler.engine.instrument import Instrument
from strangler.engine.limits import Kind, client_of
from strangler.policy.limit import Reading
from strangler.policy.model import Promise, Route
from strangler.policy.trust import NOBODY, TrustedNetworks
from strangler.ports import Limiter


class Limiting:
    """Counts what clients ask of the process resources.

    Args:
        route_of: a route of today, by name.
        key: for the keyed hash of clients.
        trusted: who is believed when it says which client it speaks for.
    """

    def __init__(
        self,
        limiter: Limiter,
        route_of: Callable[[str], Route | None],
        instrument: Instrument,
        key: bytes,
        trusted: TrustedNetworks = NOBODY,
    ) -> None:
        self._limiter = limiter
        self._route_of = route_of
        self._instrument = instrument
        self._key = key
        self._trusted = trusted

    async def polled(self, request: Request, promises: Iterable[Promise]) -> Reading | None:
        """Count a request for processes of these promises; None: it is not limited.

        Where several routes limit it, the reading is that of the one that leaves the least.
        """
        least: Reading | None = None
        for promise in {promise.route: promise for promise in promises}.values():
            route = self._route_of(promise.route)
            if route is None or route.limits.polls is None:
                continue
            client = client_of(request, route, promise.access, "polls", self._key, self._trusted)
            reading = await self._limiter.take(client, route.limits.polls)
            if reading is None:
                continue
            if not reading.allowed:
                self._instrument.limited(route.name, "polls")
            if least is None or (reading.allowed, reading.remaining) < (least.allowed, least.remaining):
                least = reading
        return least


def fields(kind: Kind, reading: Reading) -> list[Header]:
    """What a client is told of its quota."""
    return [
        (b"RateLimit-Policy", b'"%b";q=%d;w=%d' % (kind.encode(), reading.quota, reading.window)),
        (b"RateLimit", b'"%b";r=%d;t=%d' % (kind.encode(), reading.remaining, reading.reset)),
    ]


def too_many(kind: Kind, reading: Reading, correlation: str | None = None) -> Answer:
    """The answer to one request too many."""
    what = "requests" if kind == "accepts" else "reads of processes"
    return problem(
        "too-many-requests",
        f"{reading.quota} {what} in {reading.window} s are taken of a client here; nothing was done",
        headers=fields(kind, reading),
        retry_after=max(1, reading.retry_after),
        correlation_id=correlation,
    )
