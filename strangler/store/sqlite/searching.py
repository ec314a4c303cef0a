"""Looking for processes, each page in bounded time: by the index of terms, or by a walk from the newest on.

As in `scans`, a step is one statement that yields one row with one text, because each row costs a switch of threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from strangler.ports import Search
from strangler.store.desk import first_of, hour_of, lower, made_at, searched_term
from strangler.store.ids import FIRST, LAST, asked_id, first_id, id_time
from strangler.store.sqlite.conditions import bears, in_states
from strangler.store.sqlite.connection import Connection
from strangler.store.sqlite.reads import guarded
from strangler.store.sqlite.scans import split_ids

_STEP = 256  # rows of the first step of a walk; each further one takes up to twice as many …
_LONGEST = 4096  # … and no more than this, or than there is time for
_MOST = 8192  # rows of a page
_ENOUGH = 0.012  # seconds after which a page has taken long enough
_CANDIDATES = 256  # that the index names for a page
_HOURS = 4096  # parts of the index that a page looks into, 199 days of traffic

_WALK = (
    "SELECT group_concat(hex(id), '') FILTER (WHERE sought), count(*), hex(min(id)) FROM "
    "(SELECT id, {sought} AS sought FROM process WHERE id < ? AND id >= ? ORDER BY id DESC LIMIT ?)"
)
_LOOK_UP = (
    "WITH RECURSIVE hours (hour, found) AS (SELECT (SELECT max(hour) FROM lookup WHERE hour <= :top), 0 UNION ALL "
    "SELECT (SELECT max(hour) FROM lookup WHERE lookup.hour < hours.hour AND lookup.hour >= :bottom), "
    "found + (SELECT count(*) FROM lookup WHERE lookup.hour = hours.hour AND term = :term AND process_id < :before) "
    "FROM hours WHERE hours.hour IS NOT NULL AND found < :most LIMIT :hours) "
    "SELECT group_concat((SELECT group_concat(hex(process_id), '') FROM (SELECT process_id FROM lookup "
    "WHERE lookup.hour = hours.hour AND term = :term AND process_id < :before AND process_id >= :after "
    "ORDER BY process_id DESC LIMIT :most)), ''), count(*), min(hour) FROM hours"
)


class Page(NamedTuple):
    """What a step came to."""

    ids: list[bytes]  # newest first; still to be judged
    looked: int
    before: bytes | None  # where to go on; None: all was looked at


class Searching:
    """Over one connection. ``timer``: seconds that go by."""

    def __init__(self, connection: Connection, timer: Callable[[], float] = time.perf_counter) -> None:
        self._connection = connection
        self._timer = timer

    def page(self, search: Search) -> Page:
        """The ids of a page."""
        low, high = _bounds(search)
        if low >= high:
            return Page([], 0, None)
        term = searched_term(search)
        if term is None:
            return self._walk(search, low, high)
        page = self._look_up(term, low, high)
        if search.correlation_id is not None and search.key is None and search.reference is None:
            page = self._with_ours(page, search.correlation_id, low, high)
        return page

    def _walk(self, search: Search, low: bytes, high: bytes) -> Page:
        """From the newest on, in steps, until there is a page, or it has taken long enough."""
        sought, values = _sought(search)
        sql = _WALK.replace("{sought}", sought)
        began, size, looked = self._timer(), _STEP, 0
        begun = began
        found: list[bytes] = []
        while True:
            with guarded(self._connection):
                ((text, count, last),) = self._connection.rows(sql, (*values, bytearray(high), bytearray(low), size))
            found += split_ids(text)
            looked += count
            if len(found) >= search.limit:
                more = count == size or len(found) > search.limit
                ids = found[: search.limit]
                return Page(ids, looked, ids[-1] if more else None)
            if count < size:
                return Page(found, looked, None)
            high = bytes.fromhex(last)
            now = self._timer()
            left = _ENOUGH - (now - began)
            if looked >= _MOST or left <= 0:
                return Page(found, looked, high)
            pace = (now - begun) / size  # seconds a row: next to nothing, unless it comes from the disk
            size = max(_STEP, min(2 * size, _LONGEST, int(left / pace) if pace > 0 else _LONGEST))
            begun = now

    def _look_up(self, term: int, low: bytes, high: bytes) -> Page:
        """The processes that the index names, newest first."""
        values: dict[str, Any] = {
            "term": term,
            "top": hour_of(id_time(high)),
            "bottom": hour_of(id_time(low)),
            "before": bytearray(high),
            "after": bytearray(low),
            "most": _CANDIDATES,
            "hours": _HOURS,
        }
        with guarded(self._connection):
            ((text, hours, lowest),) = self._connection.rows(_LOOK_UP, values)
        ids = sorted(split_ids(text), reverse=True)
        if len(ids) >= _CANDIDATES:
            ids = ids[:_CANDIDATES]
            return Page(ids, len(ids), ids[-1])
        return Page(ids, len(ids), first_of(lowest) if hours >= _HOURS and lowest is not None else None)

    def _with_ours(self, page: Page, correlation_id: str, low: bytes, high: bytes) -> Page:
        """And those of the millisecond at which we would have made up the correlation id."""
        at = made_at(correlation_id)
        if at is None:
            return page
        first = max(low, first_id(at))
        beyond = min(high, first_id(at + 1))
        if page.before is not None:
            first = max(first, page.before)  # the rest comes with a later page
        if first >= beyond:
            return page
        sql = _WALK.replace("{sought}", "correlation_id = ?")
        with guarded(self._connection):
            ((text, count, _),) = self._connection.rows(
                sql, (correlation_id, bytearray(beyond), bytearray(first), _LONGEST)
            )
        ids = sorted({*page.ids, *split_ids(text)}, reverse=True)
        return Page(ids, page.looked + count, page.before)


def _bounds(search: Search) -> tuple[bytes, bytes]:
    """The ids between which a search looks: the first, and one that is beyond."""
    low, high = FIRST, LAST
    if search.created_after is not None:
        low = first_id(search.created_after)
    if search.created_before is not None:
        high = first_id(search.created_before)
    if search.before_id is not None:
        high = min(high, bytes(asked_id(search.before_id)))
    return low, high


def _sought(search: Search) -> tuple[str, list[Any]]:
    """A condition for one row; `desk.sought` says the same of a process."""
    conditions: list[str] = []
    values: list[Any] = []
    for condition, value in (
        ("route = ?", search.route),
        ("caller_name = ?", search.caller_name),
        ("instr(lower(reason), ?) > 0", None if search.text is None else lower(search.text)),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if search.states:
        conditions.append(in_states(search.states, values))
    if search.status is not None:
        conditions.append(bears(search.status, search.status_means, values))
    return f"ifnull({' AND '.join(conditions) or '1'}, 0)", values
