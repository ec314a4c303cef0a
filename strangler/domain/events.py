"""Events: durable facts about a process, chained by their digests; and the outbox rows that tell them."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import orjson

from strangler.domain.process import Process, State


class Event(NamedTuple):
    """A durable fact about a process."""

    process_id: str
    sequence: int  # 1, 2, … without a gap
    version: int  # the public version after it
    at: int
    content: str  # canonical JSON: id, sequence, version, at, transition, from, to, set, and note where there is one
    digest: bytes  # SHA-256(digest of the event before ‖ content)


class OutboxRow(NamedTuple):
    """A public change, for whoever is to be told. Field names are those that Debezium's outbox router expects."""

    id: str  # UUIDv8 made of the event's digest
    aggregatetype: str
    aggregateid: str
    type: str
    payload: str
    created_at: int


def following(
    process: Process,
    transition: str,
    before: State | None,
    version: int,
    now: int,
    fields: dict[str, Any],
    note: str | None = None,
) -> Event:
    """The next event of a process, in the state ``before``: a transition sets ``fields``, its state among them."""
    sequence = process.sequence + 1
    content: dict[str, Any] = {
        "id": process.id,
        "sequence": sequence,
        "version": version,
        "at": now,
        "transition": transition,
        "from": before,
        "to": fields["state"],
        "set": fields,
    }
    if note is not None:
        content["note"] = note
    text = orjson.dumps(content)
    return Event(process.id, sequence, version, now, text.decode(), chain(process.head, text))


def outbox_row(process: Process, event: Event) -> OutboxRow:
    """What is told of a public change."""
    state = process.public_state
    payload: dict[str, str | int] = {
        "id": process.id,
        "route": process.route,
        "type": process.type,
        "state": state,
        "version": process.version,
        "at": event.at,
        "correlationId": process.correlation_id,
    }
    if process.status is not None:
        payload["status"] = process.status
    if process.reason is not None:
        payload["reason"] = process.reason
    if process.effect is not None:
        payload["effect"] = process.effect
    return OutboxRow(
        event_id(event.digest),
        "process",
        process.id,
        f"{process.type}.{state}",
        orjson.dumps(payload).decode(),
        event.at,
    )


def chain(head: bytes, content: bytes) -> bytes:
    """The digest of an event with ``content``, in UTF-8, that follows the one whose digest is ``head`` (``b""`` for the
    first)."""
    return hashlib.sha256(head + content).digest()


def event_id(digest: bytes) -> str:
    """A UUIDv8 (RFC 9562 section 5.8) made of an event's digest: the same event has the same id everywhere."""
    text = digest[:16].hex()
    return f"{text[:8]}-{text[8:12]}-8{text[13:16]}-{'89ab'[int(text[16], 16) & 3]}{text[17:20]}-{text[20:32]}"
