"""What has to hold of a store, whatever happened to it: checks over plain values, one process at a time.

Each check yields at most one finding of a kind, and what follows from a finding is not told beside it, so that one
fault is told once.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator

import orjson

from strangler.domain.events import OutboxRow
from strangler.domain.exceptions import SETTLED_WITH_PROCESS
from strangler.domain.exchange import Body
from strangler.domain.history import Told, tale
from strangler.domain.idempotency import KeyRecord, key_expiry, retained_from
from strangler.domain.process import Process, State
from strangler.domain.replies import attempt_of
from strangler.ports import Finding
from strangler.store.fsck_deliveries import faults
from strangler.store.ledger import Ledger, Ledgers, Now, Unreadable
from strangler.store.retention import Part

ReadChunk = Callable[[str, str, int], bytes | None]

_SET_BACK = 60_000  # milliseconds that the clock may have been set back by since something lapsed and was swept

_RESTORE = (
    "Somebody or something wrote into the store beside strangler. Restore it from a backup, or keep it as evidence."
)

_ASK = "Whoever is told of it may ask the status resource, which is right."

_RETRY = (
    "A repeat of the client's request may be a second call, or may never be one again. If the clock of this machine "
    "was set back, that explains it; else restore the store from a backup, or keep it as evidence."
)

_PROMISE = (
    "What its client was promised is not known any more: how its states are called, what is done when it is in doubt. "
    "Restore the store from a backup, or load the policy of then once more."
)

_TELL = "Its receiver may know too little: ask it, or send it the delivery again (`strangler deliveries redrive`)."


def latest() -> int:
    """An instant that is not before any sweep so far."""
    return time.time_ns() // 1_000_000 + _SET_BACK


class Report:
    """Goes through a store, process by process; counts what it saw."""

    def __init__(self, ledgers: Ledgers, now: Now = latest) -> None:
        self._ledgers = ledgers
        self._now = now
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
            yield from check(ledger, self._ledgers.chunk, self._now())
        for table, process_id in self._ledgers.strays(self._now):
            yield stray(table, process_id)


def stray(table: str, process_id: str) -> Finding:
    """Rows of a process that does not exist."""
    wrong = f"the table {table} has rows of it, but there is no such process"
    return _finding(process_id, "stray", wrong, _RESTORE, table)


def _finding(process_id: str | None, code: str, wrong: str, advice: str, *seen: object) -> Finding:
    digest = hashlib.sha256(repr((code, *seen)).encode()).hexdigest()
    return Finding(process_id, wrong, advice, code, digest[:32])


def check(ledger: Ledger | Unreadable, read_chunk: ReadChunk | None, now: int) -> Iterator[Finding]:
    """All that is wrong with one process.

    Args:
        read_chunk: None: the content of bodies is not looked at.
        now: an instant that is not before the ledger was read.
    """
    if isinstance(ledger, Unreadable):
        yield _finding(ledger.process_id, "unreadable", f"its rows cannot be read: {ledger.why}", _RESTORE, ledger.why)
        return
    if Part.HISTORY in ledger.gone:
        yield from _kept_history(ledger)
    else:
        ledger = yield from _history(ledger)
    yield from _going(ledger)
    yield from _gone(ledger)
    yield from _bodies(ledger, read_chunk)
    yield from _key(ledger, now)
    yield from _credentials(ledger)
    yield from _end(ledger)
    if not ledger.promised:
        wrong = f"its promise {ledger.process.promise} is not on record, or its text is another"
        yield _finding(ledger.process.id, "promise", wrong, _PROMISE, ledger.process.promise)


def _history(ledger: Ledger) -> Generator[Finding, None, Ledger]:
    """The history is whole; the row, the outbox, the attempts and the deliveries are what it tells.

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
        yield from _row(ledger.process, told.process)
        if ledger.process.head == told.process.head:  # else the history was cut off, and the row knows more
            # What has to hold beside is asked of what the history tells: the row was told already.
            ledger = ledger._replace(process=told.process)
            yield from _outbox(ledger, told)
            yield from _attempts(ledger)
            for fault in faults(ledger, told.deliveries):
                yield _finding(ledger.process.id, "delivery", fault.wrong, _TELL, fault.seen)
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


def _gone(ledger: Ledger) -> Iterator[Finding]:
    """Nothing is forgotten of an open process; what was forgotten is gone."""
    if not ledger.process.final:
        # Else it was told already: its history was forgotten, or its request is missing.
        if ledger.gone and Part.HISTORY not in ledger.gone and ledger.request is not None:
            wrong = "it is open, and parts of it are marked as forgotten"
            yield _finding(ledger.process.id, "gone", wrong, _RESTORE, ledger.gone)
    elif Part.BODIES in ledger.gone and not (ledger.request is None and ledger.reply is None):
        wrong = "its bodies are marked as forgotten, and are there"
        yield _finding(ledger.process.id, "gone", wrong, _RESTORE, ledger.gone)


def _bodies(ledger: Ledger, read_chunk: ReadChunk | None) -> Iterator[Finding]:
    """What was recorded is what was received, byte for byte."""
    process = ledger.process
    if Part.BODIES in ledger.gone and process.final:
        return
    if ledger.request is None:
        yield _finding(process.id, "request", "its request is missing", _RESTORE)
    elif ledger.request.method != process.method:
        wrong_method = f"its request is {ledger.request.method}, its row says {process.method}"
        yield _finding(process.id, "request", wrong_method, _RESTORE, ledger.request.method)
    elif wrong := _body(process.id, "request", ledger.request.body, process.body_size, read_chunk):
        yield _finding(process.id, "request", f"the body of its request {wrong[0]}", _RESTORE, *wrong)
    if process.result_status is None or process.result_length is None:
        return
    if ledger.reply is None:
        if process.result_kept:
            yield _finding(process.id, "reply", "its reply is missing", _RESTORE)
        return
    number, reply = ledger.reply
    if reply.status != process.result_status:
        told = f"its reply says {reply.status}, its row {process.result_status}"
        yield _finding(process.id, "reply-status", told, _RESTORE, reply.status, process.result_status)
    if not 1 <= attempt_of(number) <= process.tries or reply.body.kept is not process.result_kept:
        of, not_kept = attempt_of(number), "" if reply.body.kept else "not "
        told = f"its reply is one to attempt {of}, {not_kept}kept, which its row is not"
        yield _finding(process.id, "reply", told, _RESTORE, number, reply.body.kept)
    elif wrong := _body(process.id, f"reply-{number}", reply.body, process.result_length, read_chunk):
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


def _outbox(ledger: Ledger, told: Told) -> Iterator[Finding]:
    """Each public change is told exactly once, and as it was."""
    if ledger.outbox == told.outbox:
        return
    name, due = ledger.process.id, {row.id: row for row in told.outbox}
    held = Counter(row.id for row in ledger.outbox)
    missing = [version for version, row in enumerate(told.outbox, 1) if row.id not in held]
    surplus = [row.type for row in ledger.outbox if row.id not in due or held[row.id] > 1]
    if missing:
        wrong = f"its outbox lacks version {', '.join(map(str, missing))}"
        advice = "Whoever was to be told of it was not: the status resource is right, tell them by hand."
        yield _finding(name, "outbox", wrong, advice, "lacks", missing)
    if surplus:
        wrong = f"its outbox tells what is not in its history, or twice: {', '.join(surplus)}"
        yield _finding(name, "outbox", wrong, _ASK, "tells", surplus)
    elif strange := [row for row in ledger.outbox if not _same(row, due[row.id])]:
        wrong = f"its outbox tells otherwise what its history tells: {', '.join(row.type for row in strange)}"
        yield _finding(name, "outbox", wrong, _ASK, "otherwise", strange)


def _same(row: OutboxRow, due: OutboxRow) -> bool:
    """Whether a row tells the same, be it spelled otherwise by another version of strangler."""
    if row == due:
        return True
    try:
        return row._replace(payload="") == due._replace(payload="") and bool(
            orjson.loads(row.payload) == orjson.loads(due.payload)
        )
    except ValueError:
        return False


def _attempts(ledger: Ledger) -> Iterator[Finding]:
    """Each claim has its attempt, which has ended unless the process is under way."""
    process, attempts = ledger.process, ledger.attempts
    numbers = [(attempt.number, attempt.fence) for attempt in attempts]
    if numbers != [(number, number) for number in range(1, process.tries + 1)]:
        wrong = f"its history tells of {process.tries} attempts, on record are {[number for number, _ in numbers]}"
        yield _finding(process.id, "attempt", wrong, _RESTORE, process.tries, numbers)
    elif endless := [
        attempt.number
        for attempt in attempts
        if attempt.outcome is None and not (process.state is State.PROCESSING and attempt.number == process.tries)
    ]:
        wrong = f"its attempts {', '.join(map(str, endless))} have no end, and none is under way"
        yield _finding(process.id, "attempt", wrong, _RESTORE, endless)


def _key(ledger: Ledger, now: int) -> Iterator[Finding]:
    """An open process holds its key; one that ended keeps it for its life, and then lets it lapse."""
    process, held = ledger.process, ledger.key
    if process.key_lookup is None:
        return
    mine = held is not None and held.process_id == process.id
    if not process.final:
        if held is None or not mine or held.expires_at is not None:
            wrong = "is not on record" if held is None else "may lapse" if mine else f"belongs to {held.process_id}"
            yield _finding(
                process.id,
                "key",
                f"it is not final, and its idempotency key {wrong}",
                "A retry of the client would be a second call: settle this process before its client retries.",
                wrong,
            )
    elif (fault := _lapsing(process, held, now)) is not None:
        yield _finding(process.id, "key", f"it is final, and its idempotency key {fault}", _RETRY, fault)


def _lapsing(process: Process, held: KeyRecord | None, now: int) -> str | None:
    """What is wrong with the key of a final process, or None."""
    if process.finished_at is None:
        return None  # the row was told already
    expires_at = key_expiry(process, process.finished_at)
    if held is not None and held.process_id == process.id:
        if held.expires_at is None:
            return "never lapses"
        return None if held.expires_at == expires_at else f"lapses at {held.expires_at}, and not at {expires_at}"
    if expires_at is None or expires_at <= now:
        return None
    return f"which lapses at {expires_at}, {'is not on record' if held is None else f'belongs to {held.process_id}'}"


def _credentials(ledger: Ledger) -> Iterator[Finding]:
    """An open process has the credentials that it came with; with its end they go."""
    process = ledger.process
    if ledger.sealed:
        advice = "Delete its row from the table credential while strangler does not run."
        if process.final:
            wrong = "it is final, and the credentials of its request are still there"
            yield _finding(process.id, "credentials", wrong, advice)
        elif process.had_credentials is False:
            wrong = "its request came without credentials, and some are there"
            yield _finding(process.id, "credentials", wrong, advice)
    # One that was tried again goes without the credentials of the first one.
    elif process.had_credentials and not process.final and process.parent_id is None:
        wrong = "it is open, and the credentials of its request are missing"
        yield _finding(process.id, "credentials", wrong, _RESTORE)


def _end(ledger: Ledger) -> Iterator[Finding]:
    """With the end, the time until it is forgotten begins."""
    process = ledger.process
    until = ledger.retain_until_at
    if process.final != (until is not None):
        yield _finding(
            process.id,
            "retention",
            "it is final and will never be forgotten" if process.final else "it is open and will be forgotten",
            "Set retain_until_at of its row by hand while strangler does not run: "
            + ("milliseconds since the epoch." if process.final else "NULL."),
        )
    elif until is not None and process.finished_at is not None:
        promised = retained_from(process, process.finished_at) + process.retain
        if until < promised:
            wrong = f"it will be forgotten at {until}, and was to be kept until {promised}"
            advice = "Set retain_until_at of its row by hand while strangler does not run, to the later one."
            yield _finding(process.id, "retention", wrong, advice, until, promised)
