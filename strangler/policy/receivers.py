"""Receivers of callbacks: who is called back, how, and which of them a caller's URL belongs to.

How to reach others is always today's policy: nothing here is kept with a process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from strangler.domain.delivery import FINAL_STATES, Subscription
from strangler.domain.process import PublicState
from strangler.domain.retry import Backoff
from strangler.policy.addresses import judge
from strangler.policy.callback_url import AllowedOrigin, CallbackUrl, parse_callback_url
from strangler.policy.expressions import Expression
from strangler.policy.model import Rate
from strangler.policy.upstreams import Tls
from strangler.policy.wildcard import fits

BACKOFF = Backoff(initial=5.0, factor=5.0, max=16 * 3600.0, jitter="equal")
"""5 s, 25 s, 2 min, 10 min, 52 min, 4 h, then every 16 h; each shorter by up to a half."""

Signature = Literal["v1", "v1a"]
"""Of Standard Webhooks: HMAC-SHA256 by a shared secret, or ed25519 by a private key."""


class SigningKey:
    """The bytes of a secret. It never shows them where values are printed, logged or compared."""

    __slots__ = ("octets",)

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        """For v1 the key of the HMAC, for v1a the 32 bytes that an ed25519 private key is made from."""

    def __repr__(self) -> str:
        return "SigningKey(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SigningKey) and self.octets == other.octets

    def __hash__(self) -> int:
        return hash(self.octets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """One entry of ``receivers``: somebody who is called back. It has either a ``url`` or ``allow``."""

    name: str
    url: str | None = None  # fixed, as it is called
    allow: tuple[AllowedOrigin, ...] = ()  # under which a caller may name a URL
    secrets: tuple[SigningKey, ...] = ()  # each signs, so that one can be rotated
    signature: Signature = "v1"
    tls: Tls = field(default_factory=Tls)
    networks: tuple[IPv4Network | IPv6Network, ...] = ()  # private ranges that may be called all the same
    verify: Literal["none", "handshake"] = "none"
    states: frozenset[PublicState] = FINAL_STATES
    payload: Literal["status", "result"] = "status"
    callers: tuple[str, ...] = ()  # names of callers, with *; empty: all
    concurrency: int = 8  # calls at once; where callers name the URL, of each origin
    rate: Rate | None = None  # calls at most, likewise; None: as many as there are
    timeout: float = 15.0  # seconds of one attempt, all in all
    attempts: int = 12
    backoff: Backoff = BACKOFF

    def takes(self, url: CallbackUrl) -> bool:
        """Whether a URL that a caller names may be one of its."""
        return any(origin.covers(url) for origin in self.allow)

    def serves(self, caller_name: str | None) -> bool:
        """Whether it is told of what a caller of this name submitted; None: the caller has no name."""
        if not self.callers:
            return True
        return caller_name is not None and any(fits(pattern, caller_name) for pattern in self.callers)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackPolicy:
    """``callbacks`` of a route."""

    receivers: tuple[str, ...]  # names, keys of `Table.receivers`
    header: str | None = None  # lower case, by which a caller names its URL
    body: Expression | None = None  # over the request, likewise; where both name one, the header does


class CallbackNotAllowed(ValueError):
    """A caller named a URL that may not be called back; the text is for it."""


def subscriptions(
    policy: CallbackPolicy, receivers: Mapping[str, Receiver], named: str | None, caller_name: str | None
) -> tuple[Subscription, ...]:
    """Who is told of a process: every receiver of the route that has a URL of its own, and the one URL ``named``.

    Raises:
        CallbackNotAllowed: the URL that the caller named is not under exactly one of them.
    """
    candidates = [receivers[name] for name in policy.receivers if name in receivers]
    own = tuple(
        Subscription(receiver.name, None, receiver.states)
        for receiver in candidates
        if receiver.url is not None and receiver.serves(caller_name)
    )
    if named is None:
        return own
    receiver, url = choose(candidates, named, caller_name)
    return (*own, Subscription(receiver.name, str(url), receiver.states))


def choose(candidates: Sequence[Receiver], named: str, caller_name: str | None) -> tuple[Receiver, CallbackUrl]:
    """The one receiver that a URL named by a caller belongs to, and the URL taken apart.

    Raises:
        CallbackNotAllowed: it is no URL that can be called back, not exactly one receiver takes it, or it names an
            address that may not be called.
    """
    try:
        url = parse_callback_url(named)
    except ValueError as error:
        raise CallbackNotAllowed(f"this URL cannot be called back: {error}") from None
    matching = _under(candidates, url)
    if not matching:
        raise CallbackNotAllowed(f"no receiver of this route takes {url.origin}")
    serving = [receiver for receiver in matching if receiver.serves(caller_name)]
    if not serving:
        raise CallbackNotAllowed(f"{url.origin} is not for this caller to name")
    if len(serving) > 1:
        raise CallbackNotAllowed(f"more than one receiver of this route takes {url.origin}")
    receiver = serving[0]
    if url.address is not None:  # what a name leads to is judged when it is called, every time
        reason = judge(url.address, receiver.networks, plain=url.scheme == "http")
        if reason is not None:
            raise CallbackNotAllowed(f"{url.address} is {reason}")
    return receiver, url


def _under(candidates: Iterable[Receiver], url: CallbackUrl) -> list[Receiver]:
    return [receiver for receiver in candidates if receiver.takes(url)]
