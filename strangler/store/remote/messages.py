"""What is sent of a commit, and what comes back."""

from __future__ import annotations

from typing import Any, NamedTuple

from strangler.domain.delivery import Delivery, alone
from strangler.domain.process import Process, PublicState
from strangler.domain.transitions import Change
from strangler.engine.notify import latency
from strangler.ports import Committed, Full, KeyTaken, Stale, Verdict
from strangler.store.ids import id_bytes
from strangler.store.sqlite import statements as sql
from strangler.store.sqlite.rows import Written, key_of

_COPIED = 4096  # bytes up to which a blob is bound as a bytearray, as in `rows`


class Told(NamedTuple):
    """What a committed change is to those who did not make it."""

    process_id: str
    sequence: int
    route: str
    waits: int  # 1: it waits for a claim since; -1: no longer; 0: as before
    body_size: int
    due_at: int | None
    before: str | None  # state
    before_settling: bool
    state: str
    settling: bool
    seconds: float | None  # from acceptance to its end, where that says something
    deliveries: tuple[tuple[Any, ...], ...] = ()  # those that it made, each as `unpack_delivery` takes it


def told_of(change: Change) -> Told:
    """What there is to tell of a change."""
    before, process = change.before, change.process
    waited = before is not None and before.queued
    return Told(
        process.id,
        process.sequence,
        process.route,
        process.queued - waited,
        process.body_size,
        process.due_at,
        before.state.value if before is not None else None,
        before is not None and before.settling,
        process.state.value,
        process.settling,
        latency(process),
        tuple([_pack_delivery(delivery, alone(delivery, process)) for delivery in change.deliveries]),
    )


def _pack_delivery(delivery: Delivery, by_itself: bool) -> tuple[Any, ...]:
    return *delivery[:5], delivery.told.value, delivery.created_at, by_itself


def unpack_delivery(parts: tuple[Any, ...]) -> tuple[Delivery, bool]:
    """A delivery as it was made, and whether it waits for no earlier one."""
    process_id, version, position, receiver, url, told, at, by_itself = parts
    return Delivery(process_id, version, position, receiver, url, PublicState(told), at, due_at=at), by_itself


def pack_item(item: Written) -> tuple[Any, ...]:
    """Rows to be written, as plain values."""
    numbers = _NUMBERS
    rows = [(numbers[statement], row) for statement, row in item.rows]
    return (
        *(rows, item.process_id, item.before, item.exists, item.key, item.touches, item.size, item.delivery),
        item.chunks,
    )


def unpack_item(parts: tuple[Any, ...]) -> Written:
    """The rows that were packed."""
    rows, process_id, *rest = parts
    return Written([(sql.ORDER[number], _bound(row)) for number, row in rows], bytearray(process_id), *rest)


def _bound(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple([bytearray(value) if type(value) is bytes and len(value) <= _COPIED else value for value in row])


_NUMBERS = {statement: number for number, statement in enumerate(sql.ORDER)}


def pack_verdict(verdict: Verdict) -> Any:
    """A verdict as a plain value."""
    match verdict:
        case Committed():
            return None
        case Stale():
            return False
        case Full():
            return True
        case KeyTaken(record):
            return (record.scope, record.key, record.fingerprint, id_bytes(record.process_id), record.expires_at)


def unpack_verdict(value: Any) -> Verdict:
    """The verdict that was packed."""
    if value is None:
        return Committed()
    if value is True:
        return Full()
    return Stale() if value is False else KeyTaken(key_of(value))


def is_there(found: object, change: Change) -> bool:
    """Whether a process that was read has gone through a change, or may have: it is at its event, or past it."""
    return isinstance(found, Process) and found.sequence >= change.process.sequence
