"""What has to hold of a store, whatever happened to it: checks over plain values, one process at a time.

Each check yields at most one finding of a kind, so that one fault is told once.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from strangler.domain.exchange import Body
from strangler.domain.history import project, verify
from strangler.domain.process import Process
from strangler.domain.transitions import event_id
from strangler.store.ledger import Ledger, Ledgers, Unreadable

ReadChunk = Callable[[str, str, int], bytes | None]


class Finding(NamedTuple):
    """One thing that is wrong."""

    process_id: str | None  # None: it is about the whole store
    wrong: str
    advice: str

    def __str__(self) -> str:
        return f"{self.process_id or 'store'}: {self.wrong}\n    {self.advice}"


_RESTORE = (
    "Somebody or something wrote into the store beside strangler. Restore it from a backup, or keep it as evidence."
)


class Report:
    """Goes through a store, process by process; counts what it saw."""

    def __init__(self, ledgers: Ledgers) -> None:
        self._ledgers = ledgers
        self.processes = 0
        self.findings = 0

    def __iter__(self) -> Iterator[Finding]:
        for finding in self._findings():
            self.findings += 1
            yield finding

    def _findings(self) -> Iterator[Finding]:
        for damage in self._ledgers.damage():
            yield Finding(None, f"the file is damaged: {damage}", "Stop strangler and restore the file from a backup.")
        for ledger in self._ledgers.all():
            self.processes += 1
            if isinstance(ledger, Unreadable):
                yield Finding(ledger.process_id, f"its rows cannot be read: {ledger.why}", _RESTORE)
            else:
                yield from check(ledger, self._ledgers.chunk)
        for table, process_id in self._ledgers.strays():
            yield Finding(process_id, f"the table {table} has rows of it, but there is no such process", _RESTORE)


def check(ledger: Ledger, read_chunk: ReadChunk) -> Iterator[Finding]:
    """All that is wrong with one process."""
    yield from _history(ledger)
    yield from _going(ledger)
    yield from _bodies(ledger, read_chunk)
    yield from _outbox(ledger)
    yield from _key(ledger)
    yield from _end(ledger)


def _history(ledger: Ledger) -> Iterator[Finding]:
    """The history is whole, and the row is what it tells."""
    process = ledger.process
    try:
        broken = verify(ledger.events) if ledger.events else "there is no event"
        told = project(ledger.events) if broken is None else process
    except (LookupError, ValueError) as error:
        broken = f"an event holds what no event holds ({error})"
    if broken is not None:
        yield Finding(process.id, f"its history is broken: {broken}", _RESTORE)
        return
    differing = [name for name, a, b in zip(Process._fields, process, told, strict=True) if a != b]
    if differing:
        yield Finding(process.id, f"its row is not what its history tells, in {', '.join(differing)}", _RESTORE)


def _going(ledger: Ledger) -> Iterator[Finding]:
    """An open process waits for a claim, is under way, or a person was asked to look."""
    process = ledger.process
    asked = any(exception.closed_at is None for exception in ledger.exceptions)
    if not process.final and process.due_at is None and process.owner is None and not asked:
        yield Finding(
            process.id,
            f"it is {process.state}, and nothing and nobody is going to settle it",
            "Find out from the legacy system what became of it; this is a defect of strangler, please report it.",
        )


def _bodies(ledger: Ledger, read_chunk: ReadChunk) -> Iterator[Finding]:
    """What was recorded is what was received, byte for byte."""
    process = ledger.process
    if ledger.request is None:
        yield Finding(process.id, "its request is missing", _RESTORE)
    elif wrong := _body(process.id, "request", ledger.request.body, process.body_size, read_chunk):
        yield Finding(process.id, f"the body of its request {wrong}", _RESTORE)
    if process.result_status is None or process.result_length is None:
        return
    if ledger.reply is None:
        if process.result_kept:
            yield Finding(process.id, "its reply is missing", _RESTORE)
        return
    attempt, reply = ledger.reply
    if reply.status != process.result_status:
        yield Finding(process.id, f"its reply says {reply.status}, its row {process.result_status}", _RESTORE)
    if wrong := _body(process.id, f"reply-{attempt}", reply.body, process.result_length, read_chunk):
        yield Finding(process.id, f"the body of its reply {wrong}", _RESTORE)


def _body(process_id: str, part: str, body: Body, size: int, read_chunk: ReadChunk) -> str | None:
    """What is wrong with a body, or None."""
    if body.size != size:
        return f"has {body.size} bytes on record, its row says {size}"
    if not body.kept:
        return None
    hasher, found = hashlib.sha256(), 0
    pieces = [body.data] if body.data is not None else (read_chunk(process_id, part, i) for i in range(body.chunks))
    for number, piece in enumerate(pieces):
        if piece is None:
            return f"lacks its chunk {number}"
        hasher.update(piece)
        found += len(piece)
    if found != size:
        return f"has {found} bytes instead of {size}"
    return None if hasher.digest() == body.digest else "is not the one whose digest was recorded"


def _outbox(ledger: Ledger) -> Iterator[Finding]:
    """Each public change is told exactly once."""
    raised = {}
    version = 0
    for event in ledger.events:
        if event.version > version:
            raised[event_id(event.digest)] = event.version
            version = event.version
    told = Counter(row.id for row in ledger.outbox)
    missing = [number for identity, number in raised.items() if identity not in told]
    if missing:
        yield Finding(
            ledger.process.id,
            f"its outbox lacks version {', '.join(map(str, missing))}",
            "Whoever was to be told of it was not: the status resource is right, tell them by hand.",
        )
    if surplus := [row.type for row in ledger.outbox if row.id not in raised or told[row.id] > 1]:
        yield Finding(
            ledger.process.id,
            f"its outbox tells what is not in its history, or twice: {', '.join(surplus)}",
            "Whoever is told of it may ask the status resource, which is right.",
        )


def _key(ledger: Ledger) -> Iterator[Finding]:
    """An open process holds its key; one that ended lets it lapse."""
    process, held = ledger.process, ledger.key
    if process.key_lookup is None:
        return
    mine = held is not None and held.process_id == process.id
    if not process.final and (held is None or not mine or held.expires_at is not None):
        wrong = "is not on record" if held is None else "may lapse" if mine else f"belongs to {held.process_id}"
        yield Finding(
            process.id,
            f"it is not final, and its idempotency key {wrong}",
            "A retry of the client would be a second call: settle this process before its client retries.",
        )
    elif process.final and mine and held is not None and held.expires_at is None:
        yield Finding(process.id, "it is final, and its idempotency key never lapses", _RESTORE)


def _end(ledger: Ledger) -> Iterator[Finding]:
    """With the end, the credentials go, and the time until it is forgotten begins."""
    process = ledger.process
    if process.final and ledger.sealed:
        yield Finding(
            process.id,
            "it is final, and the credentials of its request are still there",
            "Delete its row from the table credential while strangler does not run.",
        )
    if process.final != (ledger.retain_until_at is not None):
        yield Finding(
            process.id,
            "it is final and will never be forgotten" if process.final else "it is open and will be forgotten",
            "Set retain_until_at of its row by hand while strangler does not run: "
            + ("milliseconds since the epoch." if process.final else "NULL."),
        )
