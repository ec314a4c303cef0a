"""Processes, commits and a clock for the tests of the stores."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

from strangler.domain.exchange import Attempt, AttemptOutcome, Body, RecordedReply, RecordedRequest
from strangler.domain.idempotency import KeyRecord, key_expiry
from strangler.domain.process import Effect, Process, State
from strangler.domain.steps import (
    Accept,
    Claim,
    Doubt,
    Finish,
    Follow,
    Postpone,
    Probed,
    Promised,
    Report,
    Result,
    Transition,
)
from strangler.domain.transitions import Change, apply
from strangler.ports import Archive, Closing, Commit, End, Evidence, OpenException

NOON = 1_800_000_000_000
HOUR = 3_600_000
DAY = 24 * HOUR
CALLER = "c" * 64
OWNER = "0193f3a0-0000-7000-8000-00000000000a"
RETAIN = 30 * DAY
PROMISE_TEXT = '{"format": 1}'
PROMISE = hashlib.sha256(PROMISE_TEXT.encode()).hexdigest()

_numbers: Iterator[int] = itertools.count(1)


class FakeClock:
    """Time that stands still until it is told to move."""

    boot_id = "boot-1"

    def __init__(self, now: int = NOON) -> None:
        self.instant = now
        self.nanoseconds = 1_000_000_000_000

    def now(self) -> int:
        return self.instant

    def boottime(self) -> int:
        return self.nanoseconds


def make_id(at: int = NOON) -> str:
    """A UUIDv7 of an instant; later calls sort after earlier ones of the same instant."""
    number = next(_numbers)
    text = f"{at:012x}7{number >> 40 & 0xFFF:03x}8{number & 0xFFFFFFFFFF:015x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def draft(at: int = NOON, **fields: Any) -> Process:
    """The accepted fields of a process."""
    given: dict[str, Any] = {
        "id": make_id(at),
        "route": "submit-claim",
        "type": "ClaimSubmission",
        "promise": PROMISE,
        "base": "https://claims.example",
        "resource": "/claim-submissions",
        "method": "POST",
        "correlation_id": "corr-1",
        "created_at": at,
        "deadline_at": at + DAY,
        "retain": RETAIN,
        "promised": True,
        "caller": CALLER,
        "body_size": 9,
    }
    given.update(fields)
    return Process(**given)


def body(data: bytes = b'{"a": 1}\n') -> Body:
    return Body(len(data), hashlib.sha256(data).digest(), data)


def request(data: bytes = b'{"a": 1}\n', **fields: Any) -> RecordedRequest:
    recorded = RecordedRequest(
        "POST",
        b"/claims?x=%2F&\xff",
        (
            (b"Host", b"claims.example"),
            (b"X-Odd", b"\xe9\xff"),
            (b"X-Odd", b""),
            (b"Content-Type", b"application/json"),
        ),
        ((1, b"Authorization", b"Bearer s3cret"), (4, b"Cookie", b"a=b")),
        body(data),
    )
    return recorded._replace(**fields)


def reply(data: bytes = b'{"ok": true}', status: int = 201) -> RecordedReply:
    return RecordedReply(status, b"Created", ((b"Content-Type", b"application/json"), (b"X-A", b"\xfe")), body(data))


def key_of(process: Process, fingerprint: bytes = b"f" * 32) -> KeyRecord:
    assert process.key_scope is not None
    assert process.key_lookup is not None
    return KeyRecord(process.key_scope, process.key_lookup, fingerprint, process.id)


def keyed(key: str = "key-1", at: int = NOON, **fields: Any) -> Process:
    """A draft with an idempotency key."""
    return draft(at, key=key, key_scope="submit-claim\n" + CALLER, key_lookup=key, key_life=DAY, **fields)


async def promise(archive: Archive) -> None:
    """A promise is on disk before the first process that is accepted under it."""
    await archive.save("promise", PROMISE, PROMISE_TEXT)


def accept(process: Process | None = None, **fields: Any) -> Commit:
    """The commit of an acceptance; ``fields`` replace those of the commit."""
    process = process if process is not None else draft()
    change = apply(None, Accept(process), process.created_at)
    recorded = fields.pop("request", None) or request()
    key = key_of(process) if process.key_lookup is not None else None
    return Commit(change, request=recorded, key=key)._replace(**fields)


def step(process: Process, transition: Transition, at: int | None = None) -> Change:
    return apply(process, transition, at if at is not None else NOON + 1000 * process.sequence)


def claim(process: Process, owner: str = OWNER, at: int | None = None) -> Commit:
    change = step(process, Claim(owner), at)
    after = change.process
    return Commit(change, attempt=Attempt(after.id, after.tries, after.fence, owner, change.events[-1].at))


def end_of(process: Process, at: int) -> End:
    expires_at = key_expiry(process, at)
    return End(expires_at, max(at, expires_at or at) + process.retain)


def finish(
    process: Process,
    state: State = State.COMPLETED,
    effect: Effect = Effect.APPLIED,
    answer: RecordedReply | None = None,
    at: int | None = None,
) -> Commit:
    """The end of a claimed process, with its reply."""
    answer = answer or reply()
    ending = Finish(
        state,
        effect,
        status="APPROVED",
        result=Result(answer.status, "application/json", answer.body.size, answer.body.kept),
    )
    change = step(process, ending, at)
    after, now = change.process, change.events[-1].at
    attempt = Attempt(
        after.id, after.tries, after.fence, OWNER, now - 10, now, AttemptOutcome.COMPLETED, answer.status, "2xx"
    )
    return Commit(change, attempt=attempt, reply=(after.tries, answer), end=end_of(after, now))


def ended(process: Process, now: int, outcome: AttemptOutcome) -> Attempt:
    """The attempt that is under way, as it ends."""
    return Attempt(process.id, process.tries, process.fence, OWNER, now - 10, now, outcome)


def doubt(process: Process, *, settling: bool = False, due_at: int | None = None, at: int | None = None) -> Commit:
    """A claimed process of which nobody knows what it did; ``due_at``: when the upstream is asked."""
    change = step(process, Doubt("timeout after 60 s", settling, due_at), at)
    now = change.events[-1].at
    attempt = Attempt(
        process.id, process.tries, process.fence, OWNER, now - 10, now, AttemptOutcome.INTERRUPTED, None, "timeout"
    )
    opens = None if settling else OpenException(process.id, "in_doubt", now, "timeout after 60 s")
    return Commit(change, attempt=attempt, opens=opens)


def postpone(process: Process, due_at: int, at: int | None = None) -> Commit:
    change = step(process, Postpone(due_at, "connection refused"), at)
    now = change.events[-1].at
    attempt = Attempt(
        process.id, process.tries, process.fence, OWNER, now - 10, now, AttemptOutcome.NOT_SENT, None, "refused"
    )
    return Commit(change, attempt=attempt)


def follow(process: Process, due_at: int, until_at: int, at: int | None = None) -> Commit:
    """What the upstream took, or has not decided yet."""
    change = step(process, Follow(due_at, "/jobs/17", until_at, "not yet"), at)
    taken = (
        ended(process, change.events[-1].at, AttemptOutcome.COMPLETED) if process.state is State.PROCESSING else None
    )
    return Commit(change, attempt=taken)


def probed(process: Process, due_at: int, at: int | None = None) -> Commit:
    """What is in doubt was asked about, and the upstream did not tell."""
    asked = Evidence(process.id, process.tries, "probe", NOON, 500, [(b":target", b"/claims/1")], b"?")
    return Commit(step(process, Probed(due_at, "probe-inconclusive"), at), evidence=asked)


def report(process: Process, status: str, at: int | None = None) -> Commit:
    """Somebody says how far it is."""
    return Commit(step(process, Report(status, "half way"), at))


def promised(process: Process, at: int | None = None) -> Commit:
    """A repeat of its request is told 202."""
    return Commit(step(process, Promised(), at))


def withdraw(process: Process, transition: Transition, at: int | None = None) -> Commit:
    """Cancelled or expired."""
    change = step(process, transition, at)
    return Commit(change, end=end_of(change.process, change.events[-1].at))


def closing(at: int = NOON) -> Closing:
    """What is settled with its process is looked at no more."""
    return Closing(at, "strangler", "settled", "the reply came late")


def after(commit: Commit) -> Process:
    assert commit.change is not None
    return commit.change.process
