"""How a callback leaves: one attempt to tell a receiver something, and what came of it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from strangler.policy.receivers import Receiver

HEAD_SIZE = 1024
"""Bytes of a receiver's answer that are kept at most."""


class Message(NamedTuple):
    """What one attempt sends; all but ``attempt_at`` stays the same over the attempts of a delivery."""

    webhook_id: str  # names the delivery: the same over all attempts; without a dot
    url: str  # the receiver's own, or the one that the caller named
    body: bytes  # JSON, see `policy.callback_body`
    attempt_at: int  # of this attempt, milliseconds; it is signed
    type: str  # CloudEvents: what happened, ClaimSubmission.completed
    source: str  # CloudEvents: the configured base and R
    subject: str  # CloudEvents: the id of the process
    occurred_at: int  # CloudEvents: when it happened, milliseconds
    correlation_id: str
    traceparent: str | None = None
    tracestate: str | None = None


class Answered(NamedTuple):
    """A whole head of an answer came. Only a status of 2xx says that it was taken."""

    status: int
    retry_after: int | None  # milliseconds
    head: bytes  # the first bytes of the body, at most `HEAD_SIZE`
    address: str  # that was connected to, without its port
    duration: int  # milliseconds


class Unreached(NamedTuple):
    """No answer came, or the receiver did not consent; it may have been told all the same."""

    reason: str  # for people
    address: str | None  # the last one that was tried
    duration: int  # milliseconds


class Forbidden(NamedTuple):
    """The URL or the address may not be called; nothing was connected."""

    reason: str  # for people


class Ours(NamedTuple):
    """A fault of our own (no file descriptor, no name server): says nothing of the receiver, and is no attempt."""

    reason: str  # for people
    duration: int  # milliseconds


Reception = Answered | Unreached | Forbidden | Ours


class CallbackSender(Protocol):
    """Whoever calls receivers."""

    async def send(self, receiver: Receiver, message: Message) -> Reception:
        """Tell a receiver, once; ends within the receiver's timeout, and raises nothing but a cancellation."""
        ...

    async def close(self) -> None:
        """Give back all connections."""
        ...
