"""Where the keys of token issuers come from."""

from __future__ import annotations

from typing import Protocol

MAX_KEYS = 256 * 1024
"""Bytes of a set of keys at most."""


class KeysUnavailable(Exception):
    """A set of keys cannot be had now; the text says why, for people."""


class KeyDocuments(Protocol):
    """Sets of keys as they are published (RFC 7517 section 5)."""

    async def fetch(self, location: str) -> bytes:
        """The document at a URL, or in the file of an absolute path.

        Raises:
            KeysUnavailable: it cannot be had, or is longer than `MAX_KEYS`.
        """
        ...
