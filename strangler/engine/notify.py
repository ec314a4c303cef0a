"""Telling: a change is on disk, and everybody in this worker who counts or waits gets to know. One place for all."""

from __future__ import annotations

from collections.abc import Callable

from strangler.domain.process import Process, State
from strangler.domain.transitions import Change
from strangler.engine.instrument import Instrument
from strangler.engine.lanes import Lanes
from strangler.engine.latencies import Latencies
from strangler.engine.outcomes import Outcomes, Settled
from strangler.engine.signals import Signals

_WITHDRAWN = frozenset({State.CANCELLED, State.EXPIRED})
"""Ends that say nothing of how long the legacy system takes."""


def latency(process: Process) -> float | None:
    """Seconds from acceptance to the end; None where it has not ended, or was never sent, which says nothing."""
    if process.finished_at is None or process.state in _WITHDRAWN or not process.tries:
        return None
    return (process.finished_at - process.created_at) / 1000


class Notifier:
    """Tells of committed changes.

    Args:
        deliver: told each change that made deliveries.
    """

    def __init__(
        self,
        lanes: Lanes,
        outcomes: Outcomes,
        signals: Signals,
        latencies: Latencies,
        instrument: Instrument,
        deliver: Callable[[Change], None] = lambda change: None,
    ) -> None:
        self._lanes = lanes
        self._outcomes = outcomes
        self._signals = signals
        self._latencies = latencies
        self._instrument = instrument
        self._deliver = deliver

    def committed(self, change: Change, settled: Settled | None = None) -> None:
        """A change was committed; ``settled`` spares those who wait here a second read.

        A defect of who is told is told itself, and not raised: what is on disk goes on.
        """
        process = change.process
        try:
            if settled is not None:
                self._outcomes.put(settled)
            self._signals.announce(process)
            self._lanes.observe(change)
            self._instrument.changed(change)
            if (seconds := latency(process)) is not None:
                self._latencies.observe(process.route, seconds)
            if change.deliveries:
                self._deliver(change)
        except Exception as error:
            self._instrument.failed("notify", error)

    def awaited(self, process_id: str) -> bool:
        """Whether somebody here waits for the process."""
        return self._outcomes.awaited(process_id)

    def held(self, settled: Settled) -> None:
        """An outcome is known that the store cannot take yet: who waits goes on all the same."""
        self._outcomes.put(settled)
        self._signals.announce(settled.process)
