"""Tickets: a process's streams for who can set no header, such as a browser's EventSource and WebSocket.

A ticket names an instant and proves that we wrote it for that process. Nothing is stored: it serves any number of times
until then, over a restart and on every worker, because the identity key is the same there.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

from strangler.ports import Clock

LIFE = 300_000
"""Milliseconds."""

_PURPOSE = b"strangler: ticket for the streams of a process, 1"
_EXPIRY_SIZE = 8
_MAC_SIZE = 24  # 192 bits, so that the text has no padding
_TEXT_LENGTH = 43


class Ticket(NamedTuple):
    """What a client is given."""

    text: str
    expires_at: int


class Tickets:
    """Issues and judges tickets."""

    def __init__(self, identity_key: bytes, clock: Clock) -> None:
        # A key of its own, so that nothing else that the identity key seals or hashes passes for a ticket.
        self._key = hmac.digest(identity_key, _PURPOSE, "sha256")
        self._clock = clock

    def issue(self, process_id: str) -> Ticket:
        """A ticket for the streams of a process."""
        expires_at = self._clock.now() + LIFE
        expiry = expires_at.to_bytes(_EXPIRY_SIZE, "big")
        text = urlsafe_b64encode(expiry + self._mac(process_id, expiry)).rstrip(b"=").decode()
        return Ticket(text, expires_at)

    def admits(self, text: bytes, process_id: str) -> bool:
        """Whether this is a ticket for that process which still holds."""
        if len(text) != _TEXT_LENGTH:
            return False
        try:
            data = urlsafe_b64decode(text + b"=")
        except ValueError:
            return False
        expiry, mac = data[:_EXPIRY_SIZE], data[_EXPIRY_SIZE:]
        known = hmac.compare_digest(mac, self._mac(process_id, expiry))
        return known and int.from_bytes(expiry, "big") > self._clock.now()

    def _mac(self, process_id: str, expiry: bytes) -> bytes:
        return hmac.digest(self._key, process_id.encode() + expiry, "sha256")[:_MAC_SIZE]
