"""The keys of one issuer: fetched beside the traffic, kept, and fetched again when they are old or one is not known."""

from __future__ import annotations

import asyncio

from strangler.engine.instrument import Instrument
from strangler.engine.key_set import KeySet, read_keys
from strangler.ports import Clock, KeyDocuments, KeysUnavailable

FRESH = 300.0
"""Seconds after which the next use has the keys fetched again, and goes on with those that are there."""

STALE = 3600.0
"""Seconds after which a use waits for that. Where they cannot be had, those that are there are good all the same."""

PAUSE = 5.0
"""Seconds from the begin of one fetch to the next, at least: who makes up key ids must not have us ask all the time."""


class KeyRing:
    """The keys at one place.

    Args:
        location: a URL, or the absolute path of a file.
    """

    def __init__(self, location: str, documents: KeyDocuments, clock: Clock, instrument: Instrument) -> None:
        self._location = location
        self._documents = documents
        self._clock = clock
        self._instrument = instrument
        self._keys: KeySet | None = None
        self._document: bytes | None = None
        self._fetched = 0.0  # when the keys came
        self._asked: float | None = None  # when the last fetch began
        self._reason: str | None = None  # why it failed
        self._fetch: asyncio.Task[None] | None = None

    def put(self, document: bytes) -> None:
        """Take keys that somebody else has read, and read to be sound."""
        if document != self._document:
            self._keys, self._document = read_keys(document), document
        self._fetched = self._now()

    def prepare(self) -> None:
        """Have the keys fetched, so that the first who needs them need not wait."""
        if self._keys is None:
            self._begin()

    async def keys(self) -> KeySet | None:
        """The keys; None: there have never been any."""
        age = self._now() - self._fetched
        if self._keys is None or age > STALE:
            await self._renewed()
        elif age > FRESH:
            self._begin()
        return self._keys

    async def newer(self, known: KeySet) -> KeySet | None:
        """Keys that are not those, if there are any: something was signed with a key that is not among them."""
        if self._keys is known:
            await self._renewed()
        return self._keys if self._keys is not known else None

    def close(self) -> None:
        """Fetch no more."""
        if self._fetch is not None:
            self._fetch.cancel()

    async def _renewed(self) -> None:
        """Wait for a fetch: the one under way, or a new one unless the last has only just been."""
        self._begin()
        if self._fetch is not None:
            # Several wait for one; the client of one of them may leave.
            await asyncio.wait((self._fetch,))

    def _begin(self) -> None:
        now = self._now()
        if self._fetch is None and (self._asked is None or now - self._asked >= PAUSE):
            self._asked = now
            self._fetch = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            document = await self._documents.fetch(self._location)
            self.put(document)
        except (KeysUnavailable, ValueError) as error:
            self._failed(str(error))
        except Exception as error:
            self._instrument.failed("keys", error)
        else:
            if self._reason is not None:
                self._reason = None
                self._instrument.note("keys_fetched", location=self._location)
        finally:
            self._fetch = None

    def _failed(self, reason: str) -> None:
        if reason != self._reason:
            kept = len(self._keys.keys) if self._keys is not None else 0
            self._instrument.note("keys_not_fetched", "warning", location=self._location, reason=reason, kept=kept)
        self._reason = reason

    def _now(self) -> float:
        return self._clock.boottime() / 1e9
