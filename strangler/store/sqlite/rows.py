"""From values to rows, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from strangler.domain.events import Event, OutboxRow
from strangler.domain.exchange import Attempt, AttemptOutcome, Body, RecordedReply, RecordedRequest
from strangler.domain.idempotency import KeyRecord
from strangler.domain.process import Effect, Process, State, Tombstone
from strangler.domain.transitions import Change
from strangler.ports import Commit, DeliveryStep, End, Evidence
from strangler.store.desk import hour_of, new_terms
from strangler.store.ids import id_bytes, id_text, time_of
from strangler.store.retention import subject
from strangler.store.sealing import Sealer
from strangler.store.sqlite import delivery_rows
from strangler.store.sqlite import statements as sql
from strangler.store.sqlite.exception_rows import opening
from strangler.store.sqlite.packing import pack_headers, seal_credentials, unpack_headers
from strangler.store.sqlite.statements import NULL, Row, Statement

_STATES = {state.value: state for state in State}
_STATE_TEXTS = {state: state.value for state in State}  # an enumeration's `value` is a call of three functions
_EFFECTS: dict[str | None, Effect | None] = {None: None, **{effect.value: effect for effect in Effect}}
_COPIED = 4096  # a bytes object up to this size is bound as a bytearray: copying it costs less than binding it as it is
_PAGES = 3 * 4096  # bytes of the pages that a commit changes beside those of its bodies and events: indexes, mostly
_LOOKUP = 2048  # bytes of a page of the index of terms that may be its own, about

_ID = Process._fields.index("id")
_PROMISED = Process._fields.index("promised")
_PARENT = Process._fields.index("parent_id")
_CREDENTIALS = Process._fields.index("had_credentials")
_STATE = Process._fields.index("state")
_HEAD = Process._fields.index("head")
_BEGUN_UNTIL = Process._fields.index("attempts") + 1
_UNRESOLVED = Process._fields.index("unresolved")
_SETTLING = Process._fields.index("settling")
_EFFECT = Process._fields.index("effect")
_KEPT = Process._fields.index("result_kept")
_REPEATED = Process._fields.index("repeated")


@dataclass(slots=True)
class Written:
    """A commit as rows, with what decides whether they may be written."""

    rows: list[tuple[Statement, Row]]
    process_id: bytearray
    before: tuple[int, int] | None  # sequence and fence that it has to have; None: it must not exist
    exists: bool  # nothing is compared: it only has to exist
    key: tuple[str, str, int] | None  # scope, key and the instant at which it must be free
    touches: tuple[object, ...]  # two commits that touch one thing are not written by one statement
    size: int  # bytes that it adds to the log, about
    delivery: tuple[int, int, int] | None = None  # version, position, sequence that one of its deliveries must have
    chunks: int = 0  # of the request that it names: all of them must be there


class _Shape:
    """New processes that have nothing but defaults in the columns that a statement does not name."""

    def __init__(self, statement: Statement) -> None:
        others = [name for name in Process._fields if name not in statement.columns]
        self.statement = statement
        self.named = itemgetter(*map(Process._fields.index, statement.columns))
        self._others = itemgetter(*map(Process._fields.index, others))
        self._defaults = tuple(Process._field_defaults[name] for name in others)

    def fits(self, process: Process) -> bool:
        return bool(self._others(process) == self._defaults)


_SHAPES = (_Shape(sql.ACCEPT_USUAL), _Shape(sql.ACCEPT))


def _blob(data: bytes) -> bytes | bytearray:
    return bytearray(data) if len(data) <= _COPIED else data


def _or_null(value: Any) -> Any:
    return NULL if value is None else value


# ── A commit ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def written(commit: Commit, sealer: Sealer) -> Written:
    """A commit as rows."""
    text = subject(commit)
    process_id = id_bytes(text)
    rows: list[tuple[Statement, Row]] = []
    touches: list[object] = [text]
    before, key = None, None
    size = _PAGES
    change = commit.change
    if change is not None:
        before = None if change.before is None else (change.before.sequence, change.before.fence)
        rows.append(_process_row(process_id, change, commit.end))
        size += _add_events(rows, process_id, change)
        if terms := new_terms(change):
            hour = hour_of(time_of(text))
            rows.extend((sql.LOOKUP, (hour, term, process_id)) for term in terms)
            size += _LOOKUP * len(terms)
    if commit.request is not None:
        size += _add_request(rows, process_id, commit.request, sealer, sealed=commit.end is None)
    if commit.key is not None and change is not None:
        key = (commit.key.scope, commit.key.key, change.process.created_at)
        touches.append(key[:2])
        owner = process_id if commit.key.process_id == text else id_bytes(commit.key.process_id)
        rows.append((sql.KEY, _key_row(commit.key, owner)))
    if commit.attempt is not None:
        rows.append((sql.ATTEMPT, _attempt_row(process_id, commit.attempt)))
    if commit.reply is not None:
        rows.append((sql.REPLY, _reply_row(process_id, *commit.reply)))
        size += len(commit.reply[1].body.data or b"")
    if commit.end is not None and change is not None:
        rows.append((sql.FORGET_CREDENTIAL, (process_id,)))
        scope, name, expires_at = change.process.key_scope, change.process.key_lookup, commit.end.key_expires_at
        if scope is not None and name is not None and expires_at is not None:
            touches.append((scope, name))
            rows.append((sql.KEY_EXPIRY, (scope, name, process_id, expires_at)))
    if commit.closes is not None:
        at, who, action, why = commit.closes
        rows.append((sql.KEEP_ON, (process_id, at)))
        rows.append((sql.NOTE_CLOSING, (process_id, at, who, why)))
        rows.append((sql.CLOSE, (process_id, at, who, action)))
    if commit.opens is not None:
        rows.append((sql.OPEN, opening(commit.opens)))
    delivery = None
    if commit.delivery is not None:
        delivery = (*commit.delivery.before[1:3], commit.delivery.before.sequence)
        rows.extend(_step_rows(process_id, commit.delivery))
    if commit.evidence is not None:
        rows.append((sql.EVIDENCE, _evidence_row(process_id, commit.evidence)))
        size += len(commit.evidence.body)
    chunks = commit.request.body.chunks if commit.request is not None else 0
    return Written(rows, process_id, before, change is None, key, tuple(touches), size, delivery, chunks)


def _step_rows(process_id: bytearray, step: DeliveryStep) -> Iterator[tuple[Statement, Row]]:
    yield sql.DELIVERY_STEP, delivery_rows.step_row(process_id, step)
    if step.attempt is not None:
        yield sql.DELIVERY_ATTEMPT, delivery_rows.attempt_row(process_id, step.attempt)
    if step.after.ended_at is not None:
        yield sql.DELIVERY_ENDED, (process_id, step.after.ended_at)
    if step.pauses is not None:
        yield sql.PAUSE, delivery_rows.pause_row(step.pauses)
    if step.closes is not None:
        at, who, action, why = step.closes
        yield sql.NOTE_DELIVERY, (process_id, at, who, why, step.before.id)
        yield sql.CLOSE_DELIVERY, (process_id, at, who, action, step.before.id)


def _process_row(process_id: bytearray, change: Change, end: End | None) -> tuple[Statement, Row]:
    process = change.process
    retain_until_at = end.retain_until_at if end is not None else None
    if change.before is not None:
        token = (process_id, change.before.sequence, change.before.fence)
        promised = 1 if process.promised else 0
        return sql.UPDATE, (*token, promised, *_moved(process), _or_null(retain_until_at))
    accepted: list[Any] = [NULL if value is None else value for value in process[:_BEGUN_UNTIL]]
    accepted[_ID] = process_id
    accepted[_PROMISED] = 1 if process.promised else 0
    if process.parent_id is not None:
        accepted[_PARENT] = id_bytes(process.parent_id)
    if process.had_credentials is not None:
        accepted[_CREDENTIALS] = 1 if process.had_credentials else 0
    accepted[_STATE] = _STATE_TEXTS[process.state]
    accepted[_HEAD] = bytearray(process.head)
    if retain_until_at is None:
        for shape in _SHAPES:
            if shape.fits(process):
                return shape.statement, shape.named(accepted)
    return sql.INSERT, (*accepted[:_STATE], *_moved(process), _or_null(retain_until_at))


def _moved(process: Process) -> list[Any]:
    """The values from `state` on."""
    values: list[Any] = [NULL if value is None else value for value in process[_STATE:]]
    values[0] = _STATE_TEXTS[process.state]
    values[_HEAD - _STATE] = bytearray(process.head)
    values[_UNRESOLVED - _STATE] = 1 if process.unresolved else 0
    values[_SETTLING - _STATE] = 1 if process.settling else 0
    if process.effect is not None:
        values[_EFFECT - _STATE] = process.effect.value
    values[_KEPT - _STATE] = 1 if process.result_kept else 0
    values[_REPEATED - _STATE] = 1 if process.repeated else 0
    return values


def _add_events(rows: list[tuple[Statement, Row]], process_id: bytearray, change: Change) -> int:
    size = 0
    for event in change.events:
        digest = bytearray(event.digest)
        rows.append((sql.EVENT, (process_id, event.sequence, event.version, event.at, event.content, digest)))
        size += len(event.content)
    for told in change.outbox:
        identity = bytearray.fromhex(told.id.replace("-", ""))
        rows.append((sql.OUTBOX, (identity, told.aggregatetype, process_id, told.type, told.payload, told.created_at)))
        size += len(told.payload)
    for delivery in change.deliveries:
        rows.append((sql.DELIVERY, delivery_rows.made_row(process_id, delivery)))
        size += 512
    return size


def _add_request(
    rows: list[tuple[Statement, Row]], process_id: bytearray, request: RecordedRequest, sealer: Sealer, *, sealed: bool
) -> int:
    headers, body = pack_headers(request.headers), request.body
    data = None if body.data is None else _blob(body.data)
    row = (process_id, request.method, _blob(request.target), headers, body.size, bytearray(body.digest), data)
    rows.append((sql.REQUEST, row))
    if request.credentials and sealed:
        secret = seal_credentials(request.credentials, sealer, bytes(process_id))
        rows.append((sql.CREDENTIAL, (process_id, secret)))
    return len(headers) + len(data or b"")


def _key_row(key: KeyRecord, owner: bytearray) -> Row:
    return (key.scope, key.key, bytearray(key.fingerprint), owner, _or_null(key.expires_at))


def _attempt_row(process_id: bytearray, attempt: Attempt) -> Row:
    return (
        process_id,
        attempt.number,
        attempt.fence,
        attempt.owner,
        attempt.started_at,
        _or_null(attempt.ended_at),
        NULL if attempt.outcome is None else attempt.outcome.value,
        _or_null(attempt.status),
        _or_null(attempt.detail),
    )


def _reply_row(process_id: bytearray, number: int, reply: RecordedReply) -> Row:
    body = reply.body
    return (
        process_id,
        number,
        reply.status,
        _blob(reply.reason),
        pack_headers(reply.headers),
        body.size,
        bytearray(body.digest),
        1 if body.kept else 0,
        None if body.data is None else _blob(body.data),
    )


def _evidence_row(process_id: bytearray, evidence: Evidence) -> Row:
    return (
        process_id,
        evidence.attempt,
        evidence.source,
        evidence.at,
        _or_null(evidence.status),
        pack_headers(evidence.headers),
        _blob(evidence.body),
    )


# ── And back ─────────────────────────────────────────────────────────────────────────────────────────────────────────

PROCESS_COLUMNS = ", ".join(Process._fields)


def process_of(row: Sequence[Any]) -> Process:
    """A process from its columns, in the order of its fields."""
    values = list(row[: len(Process._fields)])
    values[_ID] = id_text(values[_ID])
    values[_PROMISED] = values[_PROMISED] == 1
    if values[_PARENT] is not None:
        values[_PARENT] = id_text(values[_PARENT])
    if values[_CREDENTIALS] is not None:
        values[_CREDENTIALS] = values[_CREDENTIALS] == 1
    values[_STATE] = _STATES[values[_STATE]]
    values[_UNRESOLVED] = values[_UNRESOLVED] == 1
    values[_SETTLING] = values[_SETTLING] == 1
    values[_EFFECT] = _EFFECTS[values[_EFFECT]]
    values[_KEPT] = values[_KEPT] == 1
    values[_REPEATED] = values[_REPEATED] == 1
    return Process._make(values)


TOMBSTONE_COLUMNS = "id, resource, caller, promise, until_at, parent_id"


def tombstone_of(row: Sequence[Any]) -> Tombstone:
    """A tombstone from its columns."""
    process_id, resource, caller, promise, until_at, parent = row
    parent_id = id_text(parent) if parent is not None else None
    return Tombstone(id_text(process_id), resource, caller, promise, until_at, parent_id)


KEY_COLUMNS = "scope, key, fingerprint, process_id, expires_at"


def key_of(row: Sequence[Any]) -> KeyRecord:
    """A key record from its columns."""
    scope, key, fingerprint, process_id, expires_at = row
    return KeyRecord(scope, key, fingerprint, id_text(process_id), expires_at)


EVENT_COLUMNS = "process_id, sequence, version, at, content, digest"


def event_of(row: Sequence[Any]) -> Event:
    """An event from its columns."""
    return Event(id_text(row[0]), *row[1:])


REQUEST_COLUMNS = "method, target, headers, size, digest, data"


def request_of(row: Sequence[Any], credentials: Sequence[tuple[int, bytes, bytes]] | None = ()) -> RecordedRequest:
    """A recorded request from its columns."""
    method, target, headers, size, digest, data = row
    return RecordedRequest(method, target, unpack_headers(headers), credentials, Body(size, digest, data))


REPLY_COLUMNS = "attempt, status, reason, headers, size, digest, kept, data"


def reply_of(row: Sequence[Any]) -> tuple[int, RecordedReply]:
    """An attempt number and its reply from their columns."""
    attempt, status, reason, headers, size, digest, kept, data = row
    return attempt, RecordedReply(status, reason, unpack_headers(headers), Body(size, digest, data, kept == 1))


OUTBOX_COLUMNS = "id, aggregatetype, type, payload, created_at"


def outbox_of(process_id: str, row: Sequence[Any]) -> OutboxRow:
    """An outbox row of a process from its columns."""
    identity, aggregatetype, kind, payload, created_at = row
    return OutboxRow(id_text(identity), aggregatetype, process_id, kind, payload, created_at)


ATTEMPT_COLUMNS = "process_id, number, fence, owner, started_at, ended_at, outcome, status, detail"


def attempt_of(row: Sequence[Any]) -> Attempt:
    """An attempt from its columns."""
    process_id, number, fence, owner, started_at, ended_at, outcome, status, detail = row
    ended = None if outcome is None else AttemptOutcome(outcome)
    return Attempt(id_text(process_id), number, fence, owner, started_at, ended_at, ended, status, detail)


EVIDENCE_COLUMNS = "process_id, attempt, source, at, status, headers, body"


def evidence_of(row: Sequence[Any]) -> Evidence:
    """Evidence from its columns."""
    process_id, attempt, source, at, status, headers, body = row
    return Evidence(id_text(process_id), attempt, source, at, status, unpack_headers(headers), body)
