"""The statements by which a commit is written, each for many rows at once.

A thread that runs a statement gives up the interpreter's lock and has to get it back, which beside a busy event loop
costs up to a switch interval each time. So the rows of one table of all commits of a turn go into one statement of many
``VALUES``, in sizes of four significant bits, so that few texts are prepared, and two are enough for any number.

Binding None costs twenty times as much as binding an integer (the adapter protocol is asked), and so does `bytes`: rows
hold `bytearray` for blobs and `NULL` for None, an empty blob that the statement turns into NULL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from strangler.domain.exceptions import SETTLED_WITH_PROCESS
from strangler.domain.process import ACCEPTED_FIELDS, Process

Row = tuple[Any, ...]

NULL = bytearray()
"""Stands for None in a column that `nullable` names; no text and no number is an empty blob."""

LARGEST = 64  # rows of one statement
_BITS = 4  # 1 to 16, 18, 20, …, 32, 36, …, 64

_BEGUN = ("state", "version", "sequence", "head", "updated_at", "due_at", "owner", "fence", "tries", "attempts")
_UNUSUAL = frozenset(
    {
        *("caller_name", "parent_id", "trace_state", "subscriptions"),
        *("retain_bodies", "retain_history", "retain_deliveries"),
    }
)
_MOVED = ("promised", *Process._fields[len(ACCEPTED_FIELDS) :])  # what a transition may set
_PROCESS_NULLABLE = frozenset(
    {
        *("caller", "caller_name", "key", "key_scope", "key_lookup", "parent_id", "due_at", "finished_at", "owner"),
        *("status", "reason", "effect", "result_status", "result_type", "result_length", "retain_until_at"),
        *("follow_target", "follow_until_at", "business_references"),
        *("revision", "trace", "trace_state", "subscriptions"),
        *("retain_bodies", "retain_history", "retain_deliveries", "had_credentials"),
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """One statement for any number of rows. ``text`` holds ``{values}`` where they go."""

    text: str
    columns: tuple[str, ...]
    nullable: frozenset[str] = frozenset()
    every: bool = False  # every row must change one row of the table, else something is wrong

    def slices(self, rows: int) -> Iterator[tuple[str, int, int]]:
        """The text for a part of ``rows`` rows, with the first of its rows and the one after its last."""
        start = 0
        while start < rows:
            size = min(LARGEST, rows - start)
            low = max(0, size.bit_length() - _BITS)
            size = size >> low << low
            yield _text(self, size), start, start + size
            start += size


@cache
def _text(statement: Statement, size: int) -> str:
    marks = ("NULLIF(?, x'')" if column in statement.nullable else "?" for column in statement.columns)
    row = f"({', '.join(marks)})"
    return statement.text.replace("{values}", ", ".join([row] * size))


def _insert(
    table: str,
    columns: Sequence[str],
    nullable: frozenset[str] = frozenset(),
    verb: str = "INSERT",
    on_conflict: str = "",
) -> Statement:
    names = ", ".join(columns)
    every = verb != "INSERT OR IGNORE"
    return Statement(f"{verb} INTO {table} ({names}) VALUES {{values}}{on_conflict}", tuple(columns), nullable, every)


def _over(key: Sequence[str], columns: Sequence[str]) -> str:
    """What is written over the row of a key that is there already."""
    sets = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {sets}"


def _update_process() -> Statement:
    """Compare-and-set: (id, sequence before, fence before, all that a transition may set, retain_until_at)."""
    columns = ("id", "was_sequence", "was_fence", *_MOVED, "retain_until_at")
    sets = [f"{name} = v.column{number}" for number, name in enumerate(_MOVED, 4)]
    sets.append(f"retain_until_at = COALESCE(v.column{len(columns)}, process.retain_until_at)")
    text = (
        f"UPDATE process SET {', '.join(sets)} FROM (VALUES {{values}}) AS v "  # noqa: S608
        "WHERE process.id = v.column1 AND process.sequence = v.column2 AND process.fence = v.column3"
    )
    return Statement(text, columns, _PROCESS_NULLABLE, every=True)


PROCESS = (*Process._fields, "retain_until_at")

ACCEPT = _insert("process", (*ACCEPTED_FIELDS, *_BEGUN), _PROCESS_NULLABLE)
"""A process of which no more is set than acceptance and a first claim set."""

ACCEPT_USUAL = _insert("process", [name for name in ACCEPT.columns if name not in _UNUSUAL], _PROCESS_NULLABLE)
"""Such a process, without the columns that hardly any route fills: each that is named costs, also where it is NULL."""

INSERT = _insert("process", PROCESS, _PROCESS_NULLABLE)
UPDATE = _update_process()
REQUEST = _insert("request", ("process_id", "method", "target", "headers", "size", "digest", "data"))
CREDENTIAL = _insert("credential", ("process_id", "sealed"))
EVENT = _insert("event", ("process_id", "sequence", "version", "at", "content", "digest"))
OUTBOX = _insert("outbox", ("id", "aggregatetype", "aggregateid", "type", "payload", "created_at"))
KEY = _insert(
    "idempotency",
    ("scope", "key", "fingerprint", "process_id", "expires_at"),
    frozenset({"expires_at"}),
    "INSERT OR REPLACE",  # one that lapsed is written over
)
ATTEMPT = _insert(
    "attempt",
    ("process_id", "number", "fence", "owner", "started_at", "ended_at", "outcome", "status", "detail"),
    frozenset({"ended_at", "outcome", "status", "detail"}),
    # When it began is known to who began it, and to nobody who ends it in his place.
    on_conflict=_over(("process_id", "number"), ("fence", "owner", "ended_at", "outcome", "status", "detail")),
)
REPLY = _insert(
    "reply",
    ("process_id", "attempt", "status", "reason", "headers", "size", "digest", "kept", "data"),
    verb="INSERT OR REPLACE",
)
FORGET_CREDENTIAL = Statement("DELETE FROM credential WHERE process_id IN (VALUES {values})", ("process_id",))
KEY_EXPIRY = Statement(
    "UPDATE idempotency SET expires_at = v.column4 FROM (VALUES {values}) AS v WHERE idempotency.scope = v.column1 "
    "AND idempotency.key = v.column2 AND idempotency.process_id = v.column3",
    ("scope", "key", "process_id", "expires_at"),
)
_SETTLED = f"exception.closed_at IS NULL AND exception.kind IN ({', '.join(map(repr, SETTLED_WITH_PROCESS))})"

KEEP_ON = Statement(
    "UPDATE process SET retain_until_at = max(retain_until_at, v.column2 + retain) FROM (VALUES {values}) AS v "  # noqa: S608
    "WHERE process.id = v.column1 AND process.retain_until_at IS NOT NULL AND EXISTS "
    f"(SELECT 1 FROM exception WHERE exception.process_id = v.column1 AND {_SETTLED})",
    ("process_id", "at"),
)
"""Retention counts from the closing of an exception; comes before `CLOSE`."""

NOTE_CLOSING = Statement(
    "INSERT INTO exception_note (exception, at, who, did, text) "  # noqa: S608
    "SELECT exception.seq, v.column2, v.column3, 'closed', v.column4 FROM (VALUES {values}) AS v "
    f"CROSS JOIN exception ON exception.process_id = v.column1 AND {_SETTLED}",
    ("process_id", "at", "who", "why"),
)
"""Comes before `CLOSE`, too."""

CLOSE = Statement(
    "WITH v (id, at, who, action) AS (VALUES {values}) UPDATE exception SET (closed_at, closed_by, action) = "  # noqa: S608
    "(SELECT at, who, action FROM v WHERE v.id = process_id) "
    f"WHERE {_SETTLED} AND process_id IN (SELECT id FROM v)",
    ("process_id", "at", "who", "action"),
)
OPEN = Statement(
    "INSERT OR IGNORE INTO exception (process_id, kind, opened_at, detail, subject, due_at, route) "
    "SELECT v.column1, v.column2, v.column3, v.column4, v.column5, v.column6, "
    "COALESCE((SELECT route FROM process WHERE id = v.column1), '') FROM (VALUES {values}) AS v",
    ("process_id", "kind", "opened_at", "detail", "subject", "due_at"),
)
EVIDENCE = _insert(
    "evidence", ("process_id", "attempt", "source", "at", "status", "headers", "body"), frozenset({"status"})
)

DELIVERY = _insert(
    "delivery",
    ("process_id", "version", "position", "lane", "receiver", "url", "told", "created_at", "due_at"),
    frozenset({"url"}),
)
DELIVERY_STEP = Statement(
    "UPDATE delivery SET state = v.column5, sequence = v.column6, due_at = v.column7, attempts = v.column8, "
    "tries = v.column9, ended_at = v.column10, reason = v.column11 FROM (VALUES {values}) AS v "
    "WHERE process_id = v.column1 AND version = v.column2 AND position = v.column3 AND delivery.sequence = v.column4",
    (
        *("process_id", "version", "position", "was_sequence", "state", "sequence", "due_at", "attempts", "tries"),
        *("ended_at", "reason"),
    ),
    frozenset({"due_at", "ended_at", "reason"}),
    every=True,
)
DELIVERY_ATTEMPT = _insert(
    "delivery_attempt",
    (
        *("process_id", "version", "position", "number", "at", "duration", "outcome", "address", "status", "error"),
        "head",
    ),
    frozenset({"address", "status", "error"}),
)
DELIVERY_ENDED = Statement(
    "UPDATE process SET retain_until_at = max(retain_until_at, v.column2 + retain) FROM (VALUES {values}) AS v "
    # By the plus the condition is no way in: for several rows SQLite goes through the index of all that is retained.
    "WHERE process.id = v.column1 AND +process.retain_until_at IS NOT NULL",
    ("process_id", "at"),
)
"""Retention counts from the end of the last delivery, too."""

_ABOUT_DELIVERY = (
    "exception.subject = v.column5 AND exception.kind IN ('dead_delivery', 'receiver_gone') "
    "AND exception.closed_at IS NULL"
)
NOTE_DELIVERY = Statement(
    "INSERT INTO exception_note (exception, at, who, did, text) "  # noqa: S608
    "SELECT exception.seq, v.column2, v.column3, 'closed', v.column4 FROM (VALUES {values}) AS v "
    f"CROSS JOIN exception ON exception.process_id = v.column1 AND {_ABOUT_DELIVERY}",
    ("process_id", "at", "who", "why", "subject"),
)
"""Comes before `CLOSE_DELIVERY`."""

CLOSE_DELIVERY = Statement(
    "WITH v (id, at, who, action, subject) AS (VALUES {values}) "
    "UPDATE exception SET (closed_at, closed_by, action) = (SELECT at, who, action FROM v "
    "WHERE v.id = process_id AND v.subject = exception.subject) "
    "WHERE closed_at IS NULL AND kind IN ('dead_delivery', 'receiver_gone') "
    "AND (process_id, subject) IN (SELECT id, subject FROM v)",
    ("process_id", "at", "who", "action", "subject"),
)
PAUSE = _insert("receiver_pause", ("receiver", "url", "at", "who", "why"), verb="INSERT OR IGNORE")

LOOKUP = _insert("lookup", ("hour", "term", "process_id"), verb="INSERT OR IGNORE")

ORDER: tuple[Statement, ...] = (
    *(ACCEPT_USUAL, ACCEPT, INSERT, UPDATE, REQUEST, CREDENTIAL, EVENT, OUTBOX, KEY, ATTEMPT, REPLY),
    *(FORGET_CREDENTIAL, KEY_EXPIRY, KEEP_ON, NOTE_CLOSING, CLOSE, NOTE_DELIVERY, CLOSE_DELIVERY, OPEN, EVIDENCE),
    *(DELIVERY, DELIVERY_STEP, DELIVERY_ATTEMPT, DELIVERY_ENDED, PAUSE),
    LOOKUP,
)
"""The order in which they are run."""

# What stands in the way. Each row begins with its number, which comes back for those that may not be written.

STALE = Statement(
    "SELECT v.column1 FROM (VALUES {values}) AS v LEFT JOIN process ON process.id = v.column2 "
    "WHERE process.sequence IS NOT v.column3 OR process.fence IS NOT v.column4",
    ("number", "id", "sequence", "fence"),
    frozenset({"sequence", "fence"}),
)
"""The process is not at this sequence and fence; NULL for both: it exists."""

ABSENT = Statement(
    "SELECT v.column1 FROM (VALUES {values}) AS v LEFT JOIN process ON process.id = v.column2 WHERE process.id IS NULL",
    ("number", "id"),
)
DELIVERY_STALE = Statement(
    "SELECT v.column1 FROM (VALUES {values}) AS v LEFT JOIN delivery ON delivery.process_id = v.column2 "
    "AND delivery.version = v.column3 AND delivery.position = v.column4 WHERE delivery.sequence IS NOT v.column5",
    ("number", "process_id", "version", "position", "sequence"),
)
"""The delivery is not at this sequence, or there is none."""

IN_PIECES = Statement(
    "SELECT v.column1 FROM (VALUES {values}) AS v "
    "WHERE (SELECT count(*) FROM chunk WHERE process_id = v.column2 AND part = 'request') <> v.column3",
    ("number", "process_id", "chunks"),
)
"""There are not so many chunks of its request."""

TAKEN = Statement(
    "SELECT v.column1, held.scope, held.key, held.fingerprint, held.process_id, held.expires_at "
    "FROM (VALUES {values}) AS v CROSS JOIN idempotency AS held ON held.scope = v.column2 AND held.key = v.column3 "
    "WHERE held.expires_at IS NULL OR held.expires_at > v.column4",
    ("number", "scope", "key", "created_at"),
)
"""Somebody holds the key, and it has not lapsed at the instant."""
