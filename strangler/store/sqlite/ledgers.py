"""The file as `fsck` reads it: in steps of some processes, each a snapshot of its own, so that the log can be cut."""

from __future__ import annotations

from collections.abc import Iterator

from strangler.store.ids import FIRST, LAST, id_bytes
from strangler.store.ledger import Ledger, Now, Unreadable
from strangler.store.sqlite import stepping
from strangler.store.sqlite.connection import Connection
from strangler.store.sqlite.reads import guarded

_STEP = 50  # processes of one snapshot, with their bodies
_KEYS = 2000  # idempotency keys


class SqliteLedgers:
    """See `Ledgers`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def damage(self) -> Iterator[str]:
        """See `Ledgers.damage`. Indexes are compared with their tables, too: a lost entry would be a lost process."""
        with guarded(self._connection):
            found = self._connection.rows("PRAGMA integrity_check(20)")
        return (text for (text,) in found if text != "ok")

    def all(self) -> Iterator[Ledger | Unreadable]:
        """See `Ledgers.all`."""
        low: bytes | None = FIRST
        while low is not None:
            step = stepping.read(self._connection, low, LAST, _STEP)
            yield from step.ledgers
            low = stepping.after(step.upto)

    def one(self, process_id: str) -> Ledger | None:
        """See `Ledgers.one`."""
        key = bytes(id_bytes(process_id))
        for ledger in stepping.read(self._connection, key, key, 1).ledgers:
            if isinstance(ledger, Unreadable):
                raise ValueError(ledger.why)
            return ledger
        return None

    def chunk(self, process_id: str, part: str, index: int) -> bytes | None:
        """See `Ledgers.chunk`."""
        return stepping.chunk(self._connection, process_id, part, index)

    def strays(self, now: Now) -> Iterator[tuple[str, str]]:
        """See `Ledgers.strays`."""
        with guarded(self._connection):
            yield from stepping.strays(self._connection, FIRST, LAST)
        above: tuple[bytes, bytes] | None = (b"", b"")
        while above is not None:
            keys = stepping.keys(self._connection, above, _KEYS, now)
            yield from keys.strays
            above = keys.upto
