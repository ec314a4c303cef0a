"""The consent of a URL to be called (CloudEvents HTTP 1.1 Web Hooks 1.0, section 4)."""

from __future__ import annotations

from urllib.parse import urlsplit

from strangler.channels.callbacks.link import Reply

LIFE = 3600.0
"""Seconds that a consent is remembered."""

MOST = 10_000
"""Consents that are remembered; then the oldest is forgotten."""


class Consents:
    """The URLs of one receiver that have consented; instants are the loop's, in seconds."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def given(self, url: str, now: float) -> bool:
        """Whether a consent is remembered."""
        return self._until.get(url, 0.0) > now

    def remember(self, url: str, now: float) -> None:
        """Keep it for a while."""
        self._until.pop(url, None)
        if len(self._until) >= MOST:
            del self._until[next(iter(self._until))]
        self._until[url] = now + LIFE


def origin_of(source: str) -> str:
    """Who asks: the host of our configured base."""
    return urlsplit(source).hostname or ""


def consents(reply: Reply, origin: str) -> bool:
    """Whether an answer allows this origin. Its status says nothing of it (section 4.2)."""
    allowed = reply.field(b"webhook-allowed-origin") or b""
    return allowed == b"*" or (allowed != b"" and allowed.lower() == origin.lower().encode())
