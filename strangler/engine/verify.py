"""Tokens of clients: verified by the keys of their issuer (`access.jwt`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from strangler.domain.exchange import Claims, Request
from strangler.engine.identity import bearer_token
from strangler.engine.instrument import Instrument
from strangler.engine.key_ring import KeyRing
from strangler.engine.key_set import BadToken, KeySet, UnknownKey
from strangler.policy.claims import objection
from strangler.policy.model import JwtPolicy
from strangler.ports import Clock, KeyDocuments


class Rejected(NamedTuple):
    """A token that is not taken."""

    reason: str  # for its bearer


class Undecided(NamedTuple):
    """Nobody can say whether a token is good: the keys of its issuer have never been had."""


class Verifier:
    """Verifies tokens; keeps the keys of all issuers."""

    def __init__(self, documents: KeyDocuments, clock: Clock, instrument: Instrument) -> None:
        self._documents = documents
        self._clock = clock
        self._instrument = instrument
        self._rings: dict[str, KeyRing] = {}

    def load(self, policies: Iterable[JwtPolicy]) -> None:
        """Have keys ready for the policies of a table that comes into force; the keys that are there are kept."""
        for policy in policies:
            ring = self._ring(policy)
            if policy.document is not None:
                ring.put(policy.document)
            else:
                ring.prepare()

    async def verify(self, request: Request, policy: JwtPolicy) -> Rejected | Undecided | None:
        """Look at the token of a request. None: it is good, and `Request.verified` has what it says; or there is
        none."""
        if policy in request.verified:
            return None
        token = bearer_token(request)
        if token is None:
            return None
        ring = self._ring(policy)
        keys = await ring.keys()
        if keys is None:
            return Undecided()
        try:
            values = await self._claims(token, keys, ring)
        except BadToken as error:
            return Rejected(str(error))
        reason = objection(values, policy, self._clock.now())
        if reason is not None:
            return Rejected(reason)
        request.verified[policy] = Claims(str(values["iss"]), values)
        return None

    def close(self) -> None:
        """Fetch no more keys."""
        for ring in self._rings.values():
            ring.close()

    async def _claims(self, token: bytes, keys: KeySet, ring: KeyRing) -> dict[str, object]:
        try:
            return dict(keys.claims(token))
        except UnknownKey:
            newer = await ring.newer(keys)
            if newer is None:
                raise
            return dict(newer.claims(token))

    def _ring(self, policy: JwtPolicy) -> KeyRing:
        ring = self._rings.get(policy.jwks)
        if ring is None:
            ring = KeyRing(policy.jwks, self._documents, self._clock, self._instrument)
            self._rings[policy.jwks] = ring
        return ring
