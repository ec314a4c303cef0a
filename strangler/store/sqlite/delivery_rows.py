"""Deliveries as rows, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from strangler.domain.delivery import Delivery, DeliveryAttempt, DeliveryState, Tried
from strangler.domain.process import PublicState
from strangler.ports import DeliveryStep, ReceiverPause
from strangler.store.ids import id_text
from strangler.store.sqlite.statements import NULL, Row

COLUMNS = (
    "process_id, version, position, receiver, url, told, created_at, state, sequence, due_at, attempts, tries, "
    "ended_at, reason"
)
_TOLD = {state.value: state for state in PublicState}  # calling an enumeration costs five times as much
_STATES = {state.value: state for state in DeliveryState}
ATTEMPT_COLUMNS = "process_id, version, position, number, at, duration, outcome, address, status, error, head"


def made_row(process_id: bytearray, delivery: Delivery) -> Row:
    """What is written of a delivery when it is made."""
    url = NULL if delivery.url is None else delivery.url
    told, made = delivery.told.value, delivery.created_at
    return process_id, delivery.version, delivery.position, delivery.lane, delivery.receiver, url, told, made, made


def step_row(process_id: bytearray, step: DeliveryStep) -> Row:
    """What is written of a delivery when something became of it."""
    before, after = step.before, step.after
    values = (after.due_at, after.attempts, after.tries, after.ended_at, after.reason)
    place = (process_id, before.version, before.position, before.sequence)
    return (*place, after.state.value, after.sequence, *(NULL if value is None else value for value in values))


def attempt_row(process_id: bytearray, attempt: DeliveryAttempt) -> Row:
    """What is written of an attempt."""
    values = (attempt.address, attempt.status, attempt.error)
    return (
        process_id,
        *attempt[1:6],
        attempt.outcome.value,
        *(NULL if value is None else value for value in values),
        bytearray(attempt.head),
    )


def pause_row(pause: ReceiverPause) -> Row:
    """What is written of a pause."""
    return pause.receiver, pause.url or "", pause.at, pause.who, pause.why


def delivery_of(row: Sequence[Any]) -> Delivery:
    """A delivery from its columns."""
    process_id, version, position, receiver, url, told, created_at, state, *rest = row
    name = id_text(bytes.fromhex(process_id) if isinstance(process_id, str) else process_id)
    return Delivery(name, version, position, receiver, url, _TOLD[told], created_at, _STATES[state], *rest)


def attempt_of(row: Sequence[Any]) -> DeliveryAttempt:
    """An attempt from its columns."""
    process_id, version, position, number, at, duration, outcome, *rest = row
    return DeliveryAttempt(id_text(process_id), version, position, number, at, duration, Tried(outcome), *rest)
