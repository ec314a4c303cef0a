"""The callback sender: one attempt to tell a receiver something."""

from __future__ import annotations

import asyncio
import os
import ssl

from yarl import URL

from strangler.channels.callbacks.client import Client, Target
from strangler.channels.callbacks.faults import reception_of
from strangler.channels.callbacks.gate import Trail
from strangler.channels.callbacks.handshake import Consents, consents, origin_of
from strangler.channels.callbacks.heads import consent_request, message_request
from strangler.channels.callbacks.link import Reply
from strangler.channels.callbacks.lookup import Lookup, SystemLookup
from strangler.channels.callbacks.signing import Signer
from strangler.domain.retry import parse_retry_after
from strangler.policy.callback_url import CallbackUrl, parse_callback_url
from strangler.policy.receivers import Receiver
from strangler.ports import Answered, Forbidden, Message, Ours, Reception, Unreached

_TELLS_WHEN = (410, 429, 503)
"""Answers to a request for consent that are about the delivery itself."""


class HttpCallbackSender:
    """Calls receivers over HTTP (`ports.CallbackSender`). Each has connections of its own; belongs to one loop."""

    def __init__(self, lookup: Lookup | None = None) -> None:
        self._lookup = lookup or SystemLookup()
        self._lines: dict[str, _Line] = {}

    async def send(self, receiver: Receiver, message: Message) -> Reception:
        """See `CallbackSender.send`."""
        began = _now()
        try:
            line = await self._line(receiver)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and not isinstance(error, ssl.SSLError) else "it is none"
            return Ours(
                reason=f"a certificate or key for this receiver cannot be used: {reason}", duration=_since(began)
            )
        target = line.target(message.url)
        if isinstance(target, Forbidden):
            return target
        trail = Trail(receiver.networks, plain=target.url.scheme == "http")
        line.users += 1
        try:
            return await _told(line, message, target, trail, began)
        except Exception as error:
            return reception_of(error, trail, _since(began), receiver.timeout)
        finally:
            line.users -= 1
            if line.retired and line.users == 0:
                await line.client.close()

    async def close(self) -> None:
        """See `CallbackSender.close`."""
        lines, self._lines = self._lines, {}
        for line in lines.values():
            await line.client.close()

    async def _line(self, receiver: Receiver) -> _Line:
        """The connections of a receiver as today's policy has it.

        A policy that was loaded anew may mean other certificates under the same names; whoever is under way ends with
        the old ones.

        Raises:
            OSError: a certificate cannot be read, or is none.
        """
        known = self._lines.get(receiver.name)
        if known is not None and known.client.receiver is receiver:
            return known
        line = self._lines[receiver.name] = _Line(Client(receiver, self._lookup))
        if known is not None:
            known.retired = True
            if known.users == 0:
                await known.client.close()
        return line


class _Line:
    """The way to one receiver."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.signer = Signer(client.receiver)
        self.consents = Consents()
        self.users = 0
        self.retired = False
        self._last: tuple[str, Target] | None = None

    def target(self, text: str) -> Target | Forbidden:
        """A URL that is the receiver's. Its address is judged when it is connected to."""
        # Most receivers have one URL.
        if self._last is not None and self._last[0] == text:
            return self._last[1]
        receiver = self.client.receiver
        try:
            url = parse_callback_url(text)
        except ValueError as error:
            return Forbidden(reason=f"this URL cannot be called back: {error}")
        if not _takes(receiver, url):
            return Forbidden(reason=f"the receiver {receiver.name} does not take {url.origin} today")
        target = Target(url, URL(str(url), encoded=True), url.origin)
        self._last = (text, target)
        return target


async def _told(line: _Line, message: Message, target: Target, trail: Trail, began: float) -> Reception:
    client, receiver = line.client, line.client.receiver
    until = began + receiver.timeout
    if receiver.verify == "handshake" and not line.consents.given(str(target.url), _now()):
        origin = origin_of(message.source)
        reply = await client.exchange(target, consent_request(target.url, origin), trail, until)
        if not consents(reply, origin):
            if reply.head.status in _TELLS_WHEN:
                return _answered(reply, message, trail, began)
            reason = (
                f"it does not consent to be called: status {reply.head.status}, no WebHook-Allowed-Origin for {origin}"
            )
            return Unreached(reason=reason, address=trail.address, duration=_since(began))
        line.consents.remember(str(target.url), _now())
        trail.begin_anew()
    reply = await client.exchange(target, message_request(line.signer, target.url, message), trail, until)
    return _answered(reply, message, trail, began)


def _answered(reply: Reply, message: Message, trail: Trail, began: float) -> Answered:
    asked = reply.field(b"retry-after")
    wait = parse_retry_after(asked, message.attempt_at) if asked is not None else None
    return Answered(
        status=reply.head.status,
        retry_after=int(wait * 1000) if wait is not None else None,
        head=reply.first,
        address=trail.address or "",
        duration=_since(began),
    )


def _takes(receiver: Receiver, url: CallbackUrl) -> bool:
    """Whether a URL is, by today's policy, one of the receiver."""
    if receiver.url is not None:
        return parse_callback_url(receiver.url) == url
    return any(origin.covers(url) for origin in receiver.allow)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _since(began: float) -> int:
    return round((_now() - began) * 1000)
