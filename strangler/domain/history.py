"""Reading a history: what it tells of is rebuilt from it and compared, and an edited or removed event shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from strangler.domain.delivery import Delivery, raised
from strangler.domain.events import Event, OutboxRow, chain, outbox_row
from strangler.domain.process import FINAL, Effect, Process, State
from strangler.domain.transitions import TABLE


class Told(NamedTuple):
    """What a sound history tells of."""

    process: Process
    outbox: tuple[OutboxRow, ...]  # of versions 1, 2, …
    deliveries: tuple[Delivery, ...]  # as they were made


def tale(events: Iterable[Event]) -> tuple[str | None, Told | None]:
    """What is wrong with a history, or None; and what it tells of, where nothing is wrong.

    A history has numbers without a gap, an unbroken hash chain, legal edges, and one end.

    Raises:
        ValueError, LookupError, TypeError: an event holds what no event holds.
    """
    head, expected = b"", 1
    state: State | None = None
    values = _BLANK.copy()
    ended, last = False, None
    process: Process | None = None  # as it was at the last public change
    outbox: list[OutboxRow] = []
    deliveries: tuple[Delivery, ...] = ()
    for event in events:
        if event.sequence != expected:
            return f"event {expected} is missing, {event.sequence} stands in its place", None
        if chain(head, event.content.encode()) != event.digest:
            return f"event {event.sequence} does not continue the hash chain", None
        content = orjson.loads(event.content)
        if (content["id"], content["sequence"]) != (event.process_id, event.sequence):
            return f"event {event.sequence} belongs to another process or place", None
        if (content["version"], content["at"]) != (event.version, event.at):
            return f"event {event.sequence} is found under another version or instant than it tells", None
        if content["from"] != state:
            told = f"event {event.sequence} starts from {content['from']}, the one before ended in {state}"
            return told, None
        if ended:
            return f"event {event.sequence} follows a final transition", None
        before, state = state, _STATES[content["to"]]
        if state not in _REACHED[before]:
            return f"event {event.sequence}: no transition leads from {content['from']} to {state}", None
        if event.version not in (len(outbox), len(outbox) + 1):
            return f"event {event.sequence} tells of version {event.version} after {len(outbox)}", None
        ended = state in FINAL
        head, expected, last = event.digest, expected + 1, event
        for name, value in content["set"].items():
            values[_PLACES[name]] = value
        if event.version > len(outbox):
            shown = process.public_state if process is not None else None
            process = _process(values, event)
            outbox.append(outbox_row(process, event))
            deliveries += raised(shown, process, event.at)
    if last is None:
        return "there is no event", None
    if process is None or process.sequence != last.sequence:
        process = _process(values, last)
    return None, Told(process, tuple(outbox), deliveries)


_ABSENT = object()
_BLANK: list[Any] = [Process._field_defaults.get(name, _ABSENT) for name in Process._fields]
_PLACES = {name: place for place, name in enumerate(Process._fields)}
_STATE, _EFFECT = _PLACES["state"], _PLACES["effect"]
_SEQUENCE, _HEAD = _PLACES["sequence"], _PLACES["head"]


def _process(values: list[Any], last: Event) -> Process:
    """The process that these values, as events hold them, make after an event."""
    if last.sequence == 1 and _ABSENT in values:
        raise ValueError(f"{Process._fields[values.index(_ABSENT)]} is not set")
    made = values.copy()
    made[_STATE], made[_EFFECT] = _STATES[made[_STATE]], _EFFECTS[made[_EFFECT]]
    made[_SEQUENCE], made[_HEAD] = last.sequence, last.digest
    return Process._make(made)


_STATES = {state.value: state for state in State}
_EFFECTS: dict[str | None, Effect | None] = {None: None, **{effect.value: effect for effect in Effect}}
_REACHED = {state: frozenset().union(*targets.values()) for state, targets in TABLE.items()}
"""Where one transition leads to, by state."""
