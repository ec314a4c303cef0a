"""What this worker has just learned about processes that somebody here waits for.

A waiter is woken by a signal and then reads the store, except for what stands here: the end that was committed a moment
ago, so that a synchronous answer costs no second read; an end that the store refuses to commit for now, which reaches
the waiter all the same; and a reply too large to keep, which goes to one waiter as a stream.
"""

from __future__ import annotations

from types import TracebackType
from typing import NamedTuple

from strangler.domain.exchange import RecordedReply
from strangler.domain.process import Process
from strangler.engine.recorder import LiveReply


class Settled(NamedTuple):
    """A process as it was committed a moment ago, or will be once the store can, with the reply that led there."""

    process: Process
    number: int = 0  # of the reply
    reply: RecordedReply | None = None
    live: LiveReply | None = None  # a reply larger than `max_reply`, while it still arrives


class Outcomes:
    """What became of the processes that somebody waits for; forgotten when nobody does."""

    def __init__(self) -> None:
        self._interest: dict[str, int] = {}
        self._settled: dict[str, Settled] = {}

    def awaited(self, process_id: str) -> bool:
        """Whether somebody here waits for the process."""
        return process_id in self._interest

    def put(self, settled: Settled) -> None:
        """Keep it for those who wait."""
        if settled.process.id in self._interest:
            self._settled[settled.process.id] = settled

    def get(self, process_id: str) -> Settled | None:
        """What was put last, if anything."""
        return self._settled.get(process_id)

    def interest(self, process_id: str) -> Interest:
        """Say, for the time of a ``with`` block, that somebody waits for the process."""
        return Interest(self, process_id)

    def _enter(self, process_id: str) -> None:
        self._interest[process_id] = self._interest.get(process_id, 0) + 1

    def _leave(self, process_id: str) -> None:
        left = self._interest[process_id] - 1
        if left:
            self._interest[process_id] = left
            return
        del self._interest[process_id]
        settled = self._settled.pop(process_id, None)
        if settled is not None and settled.live is not None and not settled.live.taken:
            settled.live.abandon()


class Interest:
    """Somebody waits for a process."""

    __slots__ = ("_outcomes", "_process_id")

    def __init__(self, outcomes: Outcomes, process_id: str) -> None:
        self._outcomes = outcomes
        self._process_id = process_id

    def __enter__(self) -> None:
        self._outcomes._enter(self._process_id)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._outcomes._leave(self._process_id)
