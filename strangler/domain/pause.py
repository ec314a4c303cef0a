"""When the recorded calls of a route were paused: meanwhile the clock of its processes' deadlines stands still."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from strangler.domain.process import Process


class Pause(NamedTuple):
    """A time without recorded calls of a route, whatever the reasons for it. Those of one route do not overlap."""

    route: str
    began_at: int
    ended_at: int | None = None  # None: it goes on


def paused_time(pauses: Iterable[Pause], since: int, now: int) -> int:
    """For how many milliseconds from ``since`` to ``now`` calls were paused, by the pauses of one route."""
    total = 0
    for pause in pauses:
        end = now if pause.ended_at is None else min(pause.ended_at, now)
        total += max(0, end - max(pause.began_at, since))
    return total


def over_at(process: Process, pauses: Iterable[Pause], now: int) -> int:
    """`Process.over_at` later by the time that calls of its route, whose pauses these are, were paused meanwhile.

    A process that has ended, or is under way, keeps what it had then.
    """
    return process.over_at + stood_still(process, pauses, now)


def with_deadline(process: Process, pauses: Iterable[Pause], now: int) -> Process:
    """The process with its deadline, and until when it is followed, as they stand at an instant."""
    paused = stood_still(process, pauses, now)
    if not paused:
        return process
    until = process.follow_until_at
    return process._replace(
        deadline_at=process.deadline_at + paused, follow_until_at=None if until is None else until + paused
    )


def stood_still(process: Process, pauses: Iterable[Pause], now: int) -> int:
    """For how many milliseconds the clock of a process stood still up to an instant, or to its end."""
    until = process.finished_at if process.finished_at is not None else now
    return paused_time(pauses, process.created_at, until)
