"""Limits on what each client may send: whose request it is, and what is left of its quota, in bounded memory."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Literal

from strangler.domain.exchange import Request
from strangler.engine.identity import identify, source_value
from strangler.policy.client_address import client_address
from strangler.policy.limit import Reading, take
from strangler.policy.model import AccessPolicy, Rate, Route
from strangler.policy.trust import NOBODY, TrustedNetworks
from strangler.ports import Clock

Kind = Literal["accepts", "polls"]

MOST = 65_536
"""Clients that are remembered, those heard of last. Who is forgotten has a whole quota again."""


class Buckets:
    """The `Limiter` where all requests are counted."""

    def __init__(self, clock: Clock, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._full_at: OrderedDict[str, float] = OrderedDict()  # by client, the one heard of last at the end

    async def take(self, client: str, rate: Rate) -> Reading | None:
        """See `Limiter.take`."""
        full_at, reading = take(rate, self._full_at.get(client), self._clock.now())
        self._full_at[client] = full_at
        self._full_at.move_to_end(client)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
        return reading

    def __len__(self) -> int:
        return len(self._full_at)


def client_of(
    request: Request, route: Route, access: AccessPolicy, kind: Kind, key: bytes, trusted: TrustedNetworks = NOBODY
) -> str:
    """Whose quota a request is taken from: a keyed hash, so that its length says nothing of what it was made from.

    ``trusted``: who is believed when it says which client it speaks for.
    """
    value: bytes | None
    by = route.limits.by
    if by == "caller":
        caller = identify(request, access, key)
        value = caller.encode() if caller is not None else None
    elif by == "address":
        value = None
    else:
        value = source_value(request, by)
    if not value:
        by, value = "address", (client_address(request, trusted) or request.peer.address).encode()
    text = b"\0".join((route.name.encode(), kind.encode(), by.lower().encode(), value))
    return hashlib.blake2b(text, key=key, digest_size=16).hexdigest()
