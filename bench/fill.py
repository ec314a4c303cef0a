"""A store filled by the store's own code, with copies of a process that the server itself made."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from bench.machine import load
from bench.subject import Strangler, submission, upstream
from strangler.config.system import SystemClock, SystemIds
from strangler.domain.exchange import Attempt, AttemptOutcome, RecordedReply, RecordedRequest
from strangler.domain.process import ACCEPTED_FIELDS, Effect, Process, State
from strangler.domain.steps import Accept, Claim, Finish, Result
from strangler.domain.transitions import Change, apply
from strangler.ports import Commit, End
from strangler.store import Store
from strangler.store.open import open_store
from strangler.store.sealing import AesGcmSealer

Kind = Literal["finished", "unfinished"]
FINISHED: Kind = "finished"  # completed, with their replies
UNFINISHED: Kind = "unfinished"  # received, and one in a hundred was under way when its worker died

_BATCH = 5_000
_OWNER = "00000000-0000-4000-8000-000000000000"


class _Template(NamedTuple):
    """What the copies are made of."""

    draft: Process
    request: RecordedRequest
    reply: RecordedReply


def fill(directory: Path, count: int, kind: Kind, *, sample: int = 0, subscriptions: str | None = None) -> list[str]:
    """Fill `store.db` of a directory; ids of so many processes, at random. ``subscriptions``: who is to be told."""
    first = _first(directory)
    return asyncio.run(_fill(f"sqlite:///{directory / 'store.db'}", first, count, kind, sample, subscriptions))


def _first(directory: Path) -> str:
    """The id of a process that the server accepted and completed, so that the store holds its promise."""
    with upstream("0") as legacy, Strangler(directory, legacy.port) as strangler:
        seen = load(strangler.port, [submission()], connections=1, warm_up=0, seconds=10, most=1, sample=1)
        identity = str(json.loads(seen.bodies[0])["id"])
        strangler.wait_for("strangler_ended_total", 1)
        return identity


async def _fill(
    url: str, first: str, count: int, kind: Kind, sample: int, subscriptions: str | None = None
) -> list[str]:
    clock = SystemClock()
    store = open_store(url, AesGcmSealer(os.urandom(32)), clock)
    try:
        template = await _template(store, first)
        template = template._replace(draft=template.draft._replace(subscriptions=subscriptions))
        commits = _commits(template, clock, count, kind)
        chosen: list[str] = []
        left = count
        while left:
            batch = [next(commits) for _ in range(min(_BATCH, left))]
            await asyncio.gather(*[store.commit(commit) for commit in batch])
            share = -(-sample * len(batch) // count)
            changes = [commit.change for commit in batch if commit.change is not None]
            chosen += [change.process.id for change in random.sample(changes, min(share, len(changes)))]
            left -= len(batch)
        random.shuffle(chosen)
        return chosen
    finally:
        await store.close()


async def _template(store: Store, identity: str) -> _Template:
    process = await store.process(identity)
    request = await store.request(identity)
    reply = await store.reply(identity)
    assert isinstance(process, Process)
    assert request is not None
    assert reply is not None
    accepted = process._asdict()
    return _Template(Process(**{name: accepted[name] for name in ACCEPTED_FIELDS}), request, reply[1])


def _commits(template: _Template, clock: SystemClock, count: int, kind: Kind) -> Iterator[Commit]:
    ids = SystemIds()
    for number in range(count):
        now = clock.now()
        draft = template.draft._replace(
            id=ids.process_id(now),
            correlation_id=ids.correlation_id(now),
            created_at=now,
            deadline_at=now + 86_400_000,
        )
        accepted = apply(None, Accept(draft), now)
        if kind == FINISHED:
            yield _finished(accepted, template, now)
        elif number % 100 == 0:
            change = accepted.then(Claim(_OWNER), now)
            yield Commit(change, template.request, attempt=_attempt(change.process, now))
        else:
            yield Commit(accepted, template.request)


def _finished(accepted: Change, template: _Template, now: int) -> Commit:
    reply = template.reply
    result = Result(reply.status, "application/json", reply.body.size, True)
    claimed = accepted.then(Claim(_OWNER), now)
    attempt = _attempt(claimed.process, now)._replace(
        ended_at=now, outcome=AttemptOutcome.COMPLETED, status=reply.status
    )
    change = claimed.then(Finish(State.COMPLETED, Effect.APPLIED, result=result), now)
    end = End(None, now + change.process.retain)
    return Commit(change, template.request, attempt=attempt, reply=(attempt.number, reply), end=end)


def _attempt(process: Process, now: int) -> Attempt:
    return Attempt(process.id, process.tries, process.fence, _OWNER, now)
