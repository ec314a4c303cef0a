"""The counts of several workers add up."""

from __future__ import annotations

import marshal

from strangler.domain.process import State
from strangler.engine.instrument import QueueReading
from strangler.operations.metrics import Counts, Exposition
from strangler.operations.totals import Snapshot, Totals, snapshot


def worked(accepted: int, *, waiting: int = 0) -> Counts:
    """The counts of a worker that has done something."""
    counts = Counts("1", 0)
    route = counts.routes["claims"]
    route.recording = True
    route.accepted = accepted
    route.refused["overloaded"] = accepted
    route.limited["polls"] = accepted
    route.ended[State.COMPLETED] = accepted
    route.passed[1] = accepted
    for _ in range(accepted):
        route.acknowledgement.observe(0.004)
    route.in_flight[State.RECEIVED] = -100  # what a worker alone knows of this is not the truth
    counts.defect("execute")
    counts.readings.lines_dropped = lambda: accepted
    counts.readings.streams = lambda: {"events": accepted}
    counts.readings.queues = lambda: {"claims": QueueReading(waiting, 0, accepted, float(accepted))}
    return counts


def told(counts: Counts) -> Snapshot:
    """The counts as they come over the wire."""
    return Snapshot._make(marshal.loads(marshal.dumps(tuple(snapshot(counts)))))


def text(totals: Totals) -> list[str]:
    counts = totals.counts()
    counts.read()
    return Exposition(counts).render().decode().splitlines()


def test_counters_histograms_and_gauges_of_all_workers_are_added() -> None:
    own = Counts("1", 0)
    own.routes["claims"].recording = True
    own.routes["claims"].in_flight[State.RECEIVED] = 7
    own.readings.queues = lambda: {"claims": QueueReading(9, 90, 0, 0.0)}
    totals = Totals(own)
    totals.heard("a", told(worked(2)))
    totals.heard("b", told(worked(3)))
    lines = text(totals)
    for line in (
        'strangler_accepted_total{route="claims"} 5.0',
        'strangler_refused_total{code="overloaded",route="claims"} 5.0',
        'strangler_limited_total{kind="polls",route="claims"} 5.0',
        'strangler_ended_total{route="claims",state="completed"} 5.0',
        'strangler_passthrough_requests_total{route="claims",status="2xx"} 5.0',
        'strangler_acknowledgement_seconds_bucket{le="0.005",route="claims"} 5.0',
        'strangler_acknowledgement_seconds_count{route="claims"} 5.0',
        'strangler_processes{route="claims",state="received"} 7.0',
        'strangler_queue_processes{route="claims"} 9.0',
        'strangler_queue_oldest_seconds{route="claims"} 3.0',
        'strangler_calls_running{route="claims"} 5.0',
        'strangler_defects_total{place="execute"} 2.0',
        "strangler_log_lines_dropped_total 5.0",
    ):
        assert line in lines, line


def test_looking_twice_counts_once() -> None:
    totals = Totals(Counts("1", 0))
    totals.heard("a", told(worked(2)))
    totals.heard("a", told(worked(3)))
    assert 'strangler_accepted_total{route="claims"} 3.0' in text(totals)


def test_what_a_worker_counted_stays_when_it_is_gone_and_what_it_ran_does_not() -> None:
    totals = Totals(Counts("1", 0))
    totals.heard("a", told(worked(2)))
    totals.departed("a")
    totals.departed("a")
    totals.heard("b", told(worked(1)))
    lines = text(totals)
    assert 'strangler_accepted_total{route="claims"} 3.0' in lines
    assert 'strangler_calls_running{route="claims"} 1.0' in lines
    assert "strangler_log_lines_dropped_total 3.0" in lines
