"""What has to hold of a store, whatever happened to it: checks over plain values, one process at a time.

Each check yields at most one finding of a kind, and what follows from a finding is not told beside it, so that one
fault is told once.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Generator, Iterator

from strangler.domain.events import event_id
from strangler.domain.exceptions import SETTLED_WITH_PROCESS
from strangler.domain.exchange import Body
from strangler.domain.history import tale
from strangler.domain.process import Process
from strangler.ports import Finding
from strangler.store.fsck_deliveries import faults
from strangler.store.ledger import Ledger, Ledgers, Unreadable
from strangler.store.retention import Part

ReadChunk = Callable[[str, str, int], bytes | None]

_RESTORE = (
    "Somebody or something wrote into the store beside strangler. Restore it from a backup, or keep it as evidence."
)


_TELL = "Its receiver may know too little: ask it, or send it the delivery again (`strangler deliveries redrive`)."


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
            advice = "Stop strangler and restore the file from a backup."
            yield _finding(None, "damage", f"the file is damaged: {damage}", advice, damage)
        for ledger in self._ledgers.all():
            self.processes += 1
            yield from check(ledger, self._ledgers.chunk)
        for table, process_id in self._ledgers.strays():
            yield stray(table, process_id)


def stray(table: str, process_id: str) -> Finding:
    """Rows of a process that does not exist."""
    wrong = f"the table {table} has rows of it, but there is no such process"
    return _finding(process_id, "stray", wrong, _RESTORE, table)


def _finding(process_id: str | None, code: str, wrong: str, advice: str, *seen: object) -> Finding:
    digest = hashlib.sha256(repr((code, *seen)).encode()).hexdigest()
    return Finding(process_id, wrong, advice, code, digest[:32])


def check(ledger: Ledger | Unreadable, read_chunk: ReadChunk | None) -> Iterator[Finding]:
    """All that is wrong with one process. ``read_chunk`` None: the content of bodies is not looked at."""
    if isinstance(ledger, Unreadable):
        yield _finding(ledger.process_id, "unreadable", f"its rows cannot be read: {ledger.why}", _RESTORE, ledger.why)
        return
    if Part.HISTORY in ledger.gone:
        yield from _kept_history(ledger)
    else:
        ledger = yield from _history(ledger)
    yield from _going(ledger)
    yield from _bodies(ledger, read_chunk)
    yield from _key(ledger)
    yield from _end(ledger)


def _history(ledger: Ledger) -> Generator[Finding, None, Ledger]:
    """The history is whole; the row, the outbox and the deliveries are what it tells.

    Returns what is to be looked at beside it.
    """
    events = iter(ledger.events)
    try:
        broken, told = tale(events)
    except (LookupError, ValueError, TypeError) as error:
        broken, told = f"an event holds what no event holds ({error})", None
    if told is None:
        read = ledger.events[: len(ledger.events) - len(list(events))]
        seen = [(event.sequence, event.content, event.digest) for event in read]
        yield _finding(ledger.process.id, "history", f"its history is broken: {broken}", _RESTORE, broken, seen)
    else:
        yield from _row(ledger.process, told)
        if ledger.process.head == told.head:  # else the history was cut off, and the row knows more
            # What has to hold beside is asked of what the history tells: the row was told already.
            ledger = ledger._replace(process=told)
            yield from _outbox(ledger)
            for fault in faults(ledger):
                yield _finding(told.id, "delivery", fault.wrong, _TELL, fault.seen)
    return ledger


def _kept_history(ledger: Ledger) -> Iterator[Finding]:
    """A history was forgotten only where its process ended, and the policy said so."""
    process = ledger.process
    if not process.final or process.retain_history is None:
        wrong = "its history was forgotten, which it was not to be"
        yield _finding(process.id, "history", wrong, _RESTORE, process.state)
    elif ledger.events:
        wrong = f"its history was forgotten, and {len(ledger.events)} events are there"
        yield _finding(process.id, "history", wrong, _RESTORE, len(ledger.events))


def _row(process: Process, told: Process) -> Iterator[Finding]:
    """The row is what the history tells."""
    if process != told:
        differing = {name: (a, b) for name, a, b in zip(Process._fields, process, told, strict=True) if a != b}
        wrong = f"its row is not what its history tells, in {', '.join(differing)}"
        yield _finding(process.id, "row", wrong, _RESTORE, differing)


def _going(ledger: Ledger) -> Iterator[Finding]:
    """An open process waits for a claim, is under way, or a person was asked to look."""
    process = ledger.process
    if process.final or process.due_at is not None or process.owner is not None:
        return
    if not any(
        exception.closed_at is None and exception.kind in SETTLED_WITH_PROCESS for exception in ledger.exceptions
    ):
        yield _finding(
            process.id,
            "orphan",
            f"it is {process.state}, and nothing and nobody is going to settle it",
            "Find out from the legacy system what became of it; this is a defect of strangler, please report it.",
            process.state,
            process.sequence,
        )


def _bodies(ledger: Ledger, read_chunk: ReadChunk | None) -> Iterator[Finding]:
    """What was recorded is what was received, byte for byte."""
    process = ledger.process
    if Part.BODIES in ledger.gone and process.final:
        return
    if ledger.request is None:
        yield _finding(process.id, "request", "its request is missing", _RESTORE)
    elif wrong := _body(process.id, "request", ledger.request.body, process.body_size, read_chunk):
        yield _finding(process.id, "request", f"the body of its request {wrong[0]}", _RESTORE, *wrong)
    if process.result_status is None or process.result_length is None:
        return
    if ledger.reply is None:
        if process.result_kept:
            yield _finding(process.id, "reply", "its reply is missing", _RESTORE)
        return
    attempt, reply = ledger.reply
    if reply.status != process.result_status:
        told = f"its reply says {reply.status}, its row {process.result_status}"
        yield _finding(process.id, "reply-status", told, _RESTORE, reply.status, process.result_status)
    if wrong := _body(process.id, f"reply-{attempt}", reply.body, process.result_length, read_chunk):
        yield _finding(process.id, "reply", f"the body of its reply {wrong[0]}", _RESTORE, *wrong)


def _body(
    process_id: str, part: str, body: Body, size: int, read_chunk: ReadChunk | None
) -> tuple[str, bytes, bytes] | None:
    """What is wrong with a body, the digest on record and the one that was found; or None."""
    if body.size != size:
        return f"has {body.size} bytes on record, its row says {size}", body.digest, b""
    if not body.kept or read_chunk is None:
        return None
    hasher, found = hashlib.sha256(), 0
    pieces = [body.data] if body.data is not None else (read_chunk(process_id, part, i) for i in range(body.chunks))
    for number, piece in enumerate(pieces):
        if piece is None:
            return f"lacks its chunk {number}", body.digest, b""
        hasher.update(piece)
        found += len(piece)
    if hasher.digest() == body.digest:
        return None
    wrong = "is not the one whose digest was recorded" if found == size else f"has {found} bytes instead of {size}"
    return wrong, body.digest, hasher.digest()


def _outbox(ledger: Ledger) -> Iterator[Finding]:
    """Each public change is told exactly once."""
    raised = {}
    version = 0
    for event in ledger.events:
        if event.version > version:
            raised[event_id(event.digest)] = event.version
            version = event.version
    told = Counter([row.id for row in ledger.outbox])
    missing = [number for identity, number in raised.items() if identity not in told]
    if missing:
        yield _finding(
            ledger.process.id,
            "outbox",
            f"its outbox lacks version {', '.join(map(str, missing))}",
            "Whoever was to be told of it was not: the status resource is right, tell them by hand.",
            "lacks",
            missing,
        )
    if surplus := [row.type for row in ledger.outbox if row.id not in raised or told[row.id] > 1]:
        yield _finding(
            ledger.process.id,
            "outbox",
            f"its outbox tells what is not in its history, or twice: {', '.join(surplus)}",
            "Whoever is told of it may ask the status resource, which is right.",
            "tells",
            surplus,
        )


def _key(ledger: Ledger) -> Iterator[Finding]:
    """An open process holds its key; one that ended lets it lapse."""
    process, held = ledger.process, ledger.key
    if process.key_lookup is None:
        return
    mine = held is not None and held.process_id == process.id
    if not process.final and (held is None or not mine or held.expires_at is not None):
        wrong = "is not on record" if held is None else "may lapse" if mine else f"belongs to {held.process_id}"
        yield _finding(
            process.id,
            "key",
            f"it is not final, and its idempotency key {wrong}",
            "A retry of the client would be a second call: settle this process before its client retries.",
            wrong,
        )
    elif process.final and mine and held is not None and held.expires_at is None:
        yield _finding(process.id, "key", "it is final, and its idempotency key never lapses", _RESTORE, "final")


def _end(ledger: Ledger) -> Iterator[Finding]:
    """With the end, the credentials go, and the time until it is forgotten begins."""
    process = ledger.process
    if process.final and ledger.sealed:
        yield _finding(
            process.id,
            "credentials",
            "it is final, and the credentials of its request are still there",
            "Delete its row from the table credential while strangler does not run.",
        )
    if process.final != (ledger.retain_until_at is not None):
        yield _finding(
            process.id,
            "retention",
            "it is final and will never be forgotten" if process.final else "it is open and will be forgotten",
            "Set retain_until_at of its row by hand while strangler does not run: "
            + ("milliseconds since the epoch." if process.final else "NULL."),
        )
