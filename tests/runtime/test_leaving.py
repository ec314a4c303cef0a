"""One worker is ended, and the others go on: what it knew is known to them before it has ended."""

from __future__ import annotations

import signal

from strangler.engine.gates import GateState
from tests.harness.waiting import eventually
from tests.runtime.one_worker import OWNER, ROUTE, OneWorker, one_worker

__all__ = ["one_worker"]

CIRCUIT = "mode: async\ncall: {concurrency: 4, circuit: {failures: 1, within: 30s, open: 1s}}"


async def leaves_with_a_call(one_worker: OneWorker) -> None:
    """Have it leave while a call is under way."""
    await one_worker.accepted("do=hold")
    one_worker.hub.due(ROUTE)
    await one_worker.called()
    signal.raise_signal(signal.SIGTERM)


async def test_a_worker_that_leaves_alone_says_so_also_to_the_next_store_process(one_worker: OneWorker) -> None:
    await one_worker.begin()
    other = one_worker.other()
    await leaves_with_a_call(one_worker)
    await eventually(lambda: other.all("restock"), what="the other one looks up what was postponed")
    await one_worker.close_hub()
    await one_worker.open_hub()
    other = one_worker.other()
    await eventually(lambda: other.all("restock"), what="and again")


async def test_a_worker_that_leaves_keeps_no_trial(one_worker: OneWorker) -> None:
    await one_worker.begin(CIRCUIT)
    gates = one_worker.hub.gates
    await leaves_with_a_call(one_worker)
    gates.leave(ROUTE, 0, failed=True)
    await eventually(lambda: gates.state(ROUTE).circuit == "half-open")
    trial = gates.enter(ROUTE, OWNER)  # it was asked for before
    assert trial
    one_worker.hub._members[OWNER].tell("trial", ROUTE, trial)
    await eventually(lambda: gates.state(ROUTE) == GateState(circuit="half-open"), what="it goes back")
