"""Reading a history: the current row is rebuilt from it and compared, and an edited or removed event shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from strangler.domain.delivery import Delivery, raised
from strangler.domain.events import Event, chain
from strangler.domain.process import FINAL, Effect, Process, State
from strangler.domain.transitions import TABLE


def tale(events: Iterable[Event]) -> tuple[str | None, Process | None]:
    """What is wrong with a history, or None; and the process that it tells of, where nothing is wrong.

    A history has numbers without a gap, an unbroken hash chain, legal edges, and one end.

    Raises:
        ValueError, LookupError, TypeError: an event holds what no event holds.
    """
    head, expected, state = b"", 1, None
    fields: dict[str, Any] = {}
    ended = False
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
        ended = state in FINAL
        head, expected = event.digest, expected + 1
        fields.update(content["set"])
    if expected == 1:
        return "there is no event", None
    return None, _process(fields, expected - 1, head)


def deliveries_of(events: Sequence[Event]) -> tuple[Delivery, ...]:
    """The deliveries that the changes of a sound history made."""
    if '"subscriptions"' not in events[0].content:
        return ()
    fields: dict[str, Any] = {}
    made: list[Delivery] = []
    before = None
    for event in events:
        fields.update(orjson.loads(event.content)["set"])
        process = _process(fields, event.sequence, event.digest)
        made += raised(before, process, event.at)
        before = process.public_state
    return tuple(made)


def _process(fields: dict[str, Any], sequence: int, head: bytes) -> Process:
    try:
        fields["sequence"] = sequence
        fields["head"] = head
        fields["state"] = _STATES[fields["state"]]
        if fields.get("effect") is not None:
            fields["effect"] = Effect(fields["effect"])
        return Process(**fields)
    except (LookupError, TypeError) as error:
        raise ValueError(str(error)) from None


_STATES = {state.value: state for state in State}
_REACHED = {state: frozenset().union(*targets.values()) for state, targets in TABLE.items()}
"""Where one transition leads to, by state."""
