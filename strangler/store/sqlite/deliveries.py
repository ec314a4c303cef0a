"""Deliveries in the file, read by everybody in a thread: each read is one row with one text, JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from strangler.domain.delivery import Delivery, DeliveryAttempt, DeliveryState, Tried, receiver_of_lane
from strangler.domain.process import Process, is_id
from strangler.ports import DeliveryKey, DeliveryQuery, DeliveryTotal, ReceiverPause
from strangler.store.ids import asked_id, id_bytes
from strangler.store.sqlite.delivery_rows import COLUMNS, delivery_of, pause_row
from strangler.store.sqlite.reads import Look, json_row

_AS_JSON = COLUMNS.replace("process_id", "hex(process_id)")

_DUE = (
    f"SELECT {COLUMNS} FROM delivery INDEXED BY delivery_due WHERE lane = ? AND state = 'pending' AND due_at <= ? "  # noqa: S608
    "AND NOT EXISTS (SELECT 1 FROM delivery AS earlier WHERE earlier.process_id = delivery.process_id "
    "AND earlier.version < delivery.version AND earlier.position = delivery.position "
    "AND earlier.state IN ('pending', 'held')) ORDER BY due_at, process_id, version, position LIMIT ?"
)
_NEXT_DUE = (
    "WITH RECURSIVE lanes (lane) AS (SELECT min(lane) FROM delivery WHERE state = 'pending' UNION ALL "
    "SELECT (SELECT min(lane) FROM delivery WHERE state = 'pending' AND delivery.lane > lanes.lane) "
    "FROM lanes WHERE lanes.lane IS NOT NULL) "
    "SELECT json_group_object(lane, due_at) FROM (SELECT lane, (SELECT min(due_at) FROM delivery "
    "WHERE state = 'pending' AND delivery.lane = lanes.lane AND delivery.due_at > ?) AS due_at "
    "FROM lanes WHERE lane IS NOT NULL) WHERE due_at IS NOT NULL"
)
"""From lane to lane by the index, however many deliveries wait in each."""

_TOTALS = (
    "SELECT json_group_array(json_array(lane, state, number, due_at)) FROM ("
    "SELECT lane, 'pending' AS state, count(*) AS number, min(due_at) AS due_at FROM delivery INDEXED BY delivery_due "
    "WHERE state = 'pending' GROUP BY lane UNION ALL "
    "SELECT lane, state, count(*), NULL FROM delivery INDEXED BY delivery_stuck "
    "WHERE state IN ('held', 'dead') GROUP BY state, lane)"
)
_ONE = f"SELECT json_array({_AS_JSON}) FROM delivery WHERE process_id = ? AND version = ? AND position = ?"  # noqa: S608
_LOG = (
    "SELECT json_group_array(json_array(number, at, duration, outcome, address, status, error, hex(head))) FROM "
    "(SELECT * FROM delivery_attempt WHERE process_id = ? AND version = ? AND position = ? ORDER BY number)"
)
_PAUSE = "INSERT OR IGNORE INTO receiver_pause (receiver, url, at, who, why) VALUES (?, ?, ?, ?, ?)"
_RESUME = "DELETE FROM receiver_pause WHERE receiver = ? AND url = ?"
_PAUSES = "SELECT json_group_array(json_array(receiver, url, at, who, why)) FROM receiver_pause"


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────

Write = Callable[[str, Sequence[Any]], Awaitable[None]]
"""Has a statement run by the one who writes."""

There = Callable[[Sequence[bytes]], Awaitable[Sequence[Process]]]
"""The processes that there are of some keys."""


class SqliteDeliveries:
    """See `Deliveries`.

    Args:
        scan: where the work that is due is looked for.
        browse: where people look around, who may wait.
        there: reads processes by their keys.
    """

    def __init__(self, scan: Look, browse: Look, there: There, write: Write) -> None:
        self._scan = scan
        self._browse = browse
        self._there = there
        self._write = write

    async def due(self, lane: str, now: int, limit: int) -> Sequence[Delivery]:
        """See `Deliveries.due`."""
        return await self._list(self._scan, _DUE, (lane, now, limit))

    async def processes(self, process_ids: Collection[str]) -> Mapping[str, Process]:
        """See `Deliveries.processes`."""
        return {process.id: process for process in await self._there([bytes(id_bytes(name)) for name in process_ids])}

    async def next_due(self, after: int) -> Mapping[str, int]:
        """See `Deliveries.next_due`."""
        found: dict[str, int] = await self._scan(partial(json_row, _NEXT_DUE, (after,)))
        return found

    async def find(self, query: DeliveryQuery) -> Sequence[Delivery]:
        """See `Deliveries.find`."""
        return await self._list(self._browse, *_found(query))

    async def log(self, key: DeliveryKey) -> tuple[Delivery, Sequence[DeliveryAttempt]] | None:
        """See `Deliveries.log`."""
        if not is_id(key[0]):
            return None
        place = (id_bytes(key[0]), *key[1:])
        found = await self._browse(partial(json_row, _ONE, place))
        if found is None:
            return None
        attempts = await self._browse(partial(json_row, _LOG, place))
        return delivery_of(found), tuple(
            DeliveryAttempt(*key, number, at, duration, Tried(outcome), address, status, error, bytes.fromhex(head))
            for number, at, duration, outcome, address, status, error, head in attempts
        )

    async def totals(self) -> Sequence[DeliveryTotal]:
        """See `Deliveries.totals`."""
        totals: dict[tuple[str, DeliveryState], DeliveryTotal] = {}
        for lane, state, number, due_at in await self._scan(partial(json_row, _TOTALS, ())):
            place = receiver_of_lane(lane), DeliveryState(state)
            total = totals.get(place, DeliveryTotal(*place, 0, due_at))
            oldest = min(total.oldest_due_at, due_at) if total.oldest_due_at is not None else due_at
            totals[place] = DeliveryTotal(*place, total.deliveries + number, oldest)
        return list(totals.values())

    async def pauses(self) -> Sequence[ReceiverPause]:
        """See `Deliveries.pauses`."""
        found = await self._scan(partial(json_row, _PAUSES, ()))
        return [ReceiverPause(receiver, url or None, at, who, why) for receiver, url, at, who, why in found]

    async def pause(self, pause: ReceiverPause) -> None:
        """See `Deliveries.pause`."""
        await self._write(_PAUSE, pause_row(pause))

    async def resume(self, receiver: str, url: str | None) -> None:
        """See `Deliveries.resume`."""
        await self._write(_RESUME, (receiver, url or ""))

    async def _list(self, look: Look, sql: str, parameters: Sequence[Any]) -> list[Delivery]:
        whole = f"SELECT json_group_array(json_array({_AS_JSON})) FROM ({sql})"  # noqa: S608
        return [delivery_of(row) for row in await look(partial(json_row, whole, parameters))]


def _found(query: DeliveryQuery) -> tuple[str, list[Any]]:
    """A query for a page; `store.deliveries.wanted` says the same of one delivery."""
    conditions: list[str] = ["TRUE"]
    parameters: list[Any] = []
    for condition, value in (
        ("receiver = ?", query.receiver),
        ("url = ?", query.url),
        ("process_id = ?", None if query.process_id is None else asked_id(query.process_id)),
        ("created_at >= ?", query.created_after),
        ("created_at < ?", query.created_before),
    ):
        if value is not None:
            conditions.append(condition)
            parameters.append(value)
    index = ""
    if query.states:
        conditions.append(f"state IN ({', '.join('?' for _ in query.states)})")
        parameters.extend(state.value for state in query.states)
        # Said as the partial indexes say it, or they could not be used.
        if set(query.states) <= {DeliveryState.HELD, DeliveryState.DEAD}:
            index = "INDEXED BY delivery_stuck"
            conditions.append("state IN ('held', 'dead')")
        elif set(query.states) == {DeliveryState.PENDING}:
            index = "INDEXED BY delivery_due"
            conditions.append("state = 'pending'")
    if query.before is not None:
        conditions.append("(process_id, version, position) < (?, ?, ?)")
        parameters.extend((asked_id(query.before[0]), *query.before[1:]))
    parameters.append(query.limit)
    return (
        f"SELECT {COLUMNS} FROM delivery {index} WHERE {' AND '.join(conditions)} "  # noqa: S608
        "ORDER BY process_id DESC, version DESC, position DESC LIMIT ?",
        parameters,
    )
