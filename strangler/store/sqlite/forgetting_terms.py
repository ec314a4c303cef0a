"""The index of terms forgets an hour once no process of that hour is left.

Rows of it are hints, so that those of processes that went before the others of their hour do no harm; taking each out
with its process would cost the sweep a page for each.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial

from strangler.store.desk import first_of
from strangler.store.sqlite.connection import Connection
from strangler.store.sqlite.reads import guarded
from strangler.store.sqlite.turn import Action

Emptied = tuple[list[int], int]
Scan = Callable[[Callable[[Connection], Emptied]], Awaitable[Emptied]]
Write = Callable[[Action], Awaitable[int]]

EVERY = 60_000
"""Milliseconds between two looks."""

_LOOKS = 64  # hours of one look
_ROWS = 256  # of one step

_HOURS = (
    "WITH RECURSIVE hours (hour) AS (SELECT min(hour) FROM lookup WHERE hour > ?1 UNION ALL "
    "SELECT (SELECT min(hour) FROM lookup WHERE lookup.hour > hours.hour) FROM hours WHERE hours.hour IS NOT NULL "
    "LIMIT ?2) SELECT json_group_array(hour) FROM hours WHERE hour IS NOT NULL"
)
_ANY = "SELECT 1 FROM process WHERE id >= ? AND id < ? LIMIT 1"
_FORGET = (  # a process of that hour may have been accepted since the look
    "DELETE FROM lookup WHERE (hour, term, process_id) IN (SELECT hour, term, process_id FROM lookup WHERE hour = ? "
    "AND NOT EXISTS (SELECT 1 FROM process WHERE id >= ? AND id < ?) LIMIT ?)"
)


class Forgetting:
    """Where the last look ended, and when the next one is due."""

    def __init__(self) -> None:
        self._at = 0
        self._after = -1

    async def sweep(self, now: int, scan: Scan, write: Write) -> int:
        """Forget hours without processes. Returns how many rows went."""
        if now < self._at:
            return 0
        self._at = now + EVERY
        hours, self._after = await scan(partial(_emptied, self._after))
        swept = 0
        for hour in hours:
            while taken := await write(partial(_forget, hour)):
                swept += taken
        return swept


def _emptied(after: int, connection: Connection) -> Emptied:
    """Some hours beyond one that have terms and no process, and where the next look goes on."""
    with guarded(connection):
        ((text,),) = connection.rows(_HOURS, (after, _LOOKS))
        hours: list[int] = json.loads(text)
        dead = [hour for hour in hours if not connection.rows(_ANY, _bounds(hour))]
    return dead, hours[-1] if len(hours) == _LOOKS else -1


def _forget(hour: int, connection: Connection) -> int:
    """Forget some of the terms of an hour; how many."""
    return connection.run(_FORGET, (hour, *_bounds(hour), _ROWS))


def _bounds(hour: int) -> tuple[bytearray, bytearray]:
    """The first id of an hour, and that of the next."""
    return bytearray(first_of(hour)), bytearray(first_of(hour + 1))
