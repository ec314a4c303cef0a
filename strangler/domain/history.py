"""Reading a history: the current row is rebuilt from it and compared, and an edited or removed event shows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from strangler.domain.process import FINAL, Effect, Process, State
from strangler.domain.transitions import TABLE, Event, chain


def project(events: Iterable[Event]) -> Process:
    """The process that a history tells of: what the current row must be.

    Raises:
        ValueError: there is no event, or one does not hold what an event holds.
    """
    fields: dict[str, Any] = {}
    for event in events:
        content = json.loads(event.content)
        fields.update(content["set"])
        fields["sequence"] = event.sequence
        fields["head"] = event.digest
    if not fields:
        raise ValueError("no events")
    fields["state"] = State(fields["state"])
    if fields.get("effect") is not None:
        fields["effect"] = Effect(fields["effect"])
    try:
        return Process(**fields)
    except TypeError as error:
        raise ValueError(str(error)) from None


def verify(events: Iterable[Event]) -> str | None:
    """What is wrong with a history, or None: numbers without a gap, an unbroken hash chain, legal edges, one end."""
    head, expected, state = b"", 1, None
    ended = False
    for event in events:
        if event.sequence != expected:
            return f"event {expected} is missing, {event.sequence} stands in its place"
        if chain(head, event.content) != event.digest:
            return f"event {event.sequence} does not continue the hash chain"
        content = json.loads(event.content)
        if (content["id"], content["sequence"]) != (event.process_id, event.sequence):
            return f"event {event.sequence} belongs to another process or place"
        if content["from"] != state:
            return f"event {event.sequence} starts from {content['from']}, the one before ended in {state}"
        if ended:
            return f"event {event.sequence} follows a final transition"
        state = State(content["to"])
        if not any(state in targets for targets in TABLE[content["from"] and State(content["from"])].values()):
            return f"event {event.sequence}: no transition leads from {content['from']} to {state}"
        ended = state in FINAL
        head, expected = event.digest, expected + 1
    return None
