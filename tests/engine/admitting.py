"""Who is let in, in tests: issuers that publish what they are told to, and an upstream that is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from strangler.engine.admission import Admission
from strangler.engine.authorize import Authorizer
from strangler.engine.instrument import Instrument
from strangler.engine.verify import Verifier
from strangler.policy.model import Route
from strangler.ports import Clock, Ids, KeysUnavailable, ProcessStore, UpstreamCaller


def document(*members: Any) -> bytes:
    """A set of keys as it is published."""
    return json.dumps({"keys": list(members)}).encode()


class Published:
    """`KeyDocuments` that are told what to say; keeps what it was asked."""

    def __init__(self, *members: dict[str, Any]) -> None:
        self.document: bytes | None = document(*members) if members else None  # None: it cannot be had
        self.asked: list[str] = []

    async def fetch(self, location: str) -> bytes:
        self.asked.append(location)
        if self.document is None:
            raise KeysUnavailable("connection refused")
        return self.document


def an_admission(
    published: Published,
    upstream: UpstreamCaller,
    clock: Clock,
    ids: Ids,
    instrument: Instrument,
    store: ProcessStore,
    route_of: Callable[[str], Route | None],
    key: bytes,
) -> Admission:
    """Who is let in, over the parts of a scene."""
    authorizer = Authorizer(
        upstream, clock, ids, instrument, identity_key=key, trusted=lambda peer: peer.address == "192.0.2.1"
    )
    return Admission(Verifier(published, clock, instrument), authorizer, store, instrument, route_of)
