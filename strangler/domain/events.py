"""Events: durable facts about a process, chained by their digests; and the outbox rows that tell them."""

from __future__ import annotations

import hashlib
from json.encoder import encode_basestring as _quoted
from typing import NamedTuple

from strangler.domain.process import Process


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


def outbox_row(process: Process, event: Event) -> OutboxRow:
    """What is told of a public change."""
    # Written by hand: on every acceptance, and with a fixed form.
    state = process.public_state
    text = (
        f'{{"id":"{process.id}","route":{_quoted(process.route)},"type":{_quoted(process.type)},'
        f'"state":"{state}","version":{process.version},"at":{event.at},'
        f'"correlationId":{_quoted(process.correlation_id)}'
    )
    for name, value in (("status", process.status), ("reason", process.reason), ("effect", process.effect)):
        if value is not None:
            text += f',"{name}":{_quoted(value)}'
    return OutboxRow(
        event_id(event.digest),
        "process",
        process.id,
        f"{process.type}.{state}",
        text + "}",
        event.at,
    )


def chain(head: bytes, content: str) -> bytes:
    """The digest of an event with ``content`` that follows the one whose digest is ``head`` (``b""`` for the first)."""
    return hashlib.sha256(head + content.encode()).digest()


def event_id(digest: bytes) -> str:
    """A UUIDv8 (RFC 9562 section 5.8) made of an event's digest: the same event has the same id everywhere."""
    text = digest[:16].hex()
    return f"{text[:8]}-{text[8:12]}-8{text[13:16]}-{'89ab'[int(text[16], 16) & 3]}{text[17:20]}-{text[20:32]}"
