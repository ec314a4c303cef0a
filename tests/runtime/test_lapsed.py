"""A machine slept until the leases had run out: what a worker asked for while it was given up is asked for again."""

from __future__ import annotations

from tests.harness.waiting import eventually
from tests.runtime.one_worker import ROUTE, OneWorker, one_worker

__all__ = ["one_worker"]


async def test_a_slot_that_was_asked_for_is_lent_after_all(one_worker: OneWorker) -> None:
    await one_worker.begin("mode: async\ncall: {concurrency: 1}")
    await one_worker.accepted()
    one_worker.sleep()
    one_worker.hub.due(ROUTE)
    await one_worker.said("want")
    await one_worker.wake()
    await one_worker.called()


async def test_the_one_call_that_a_circuit_lets_through_is_asked_for_again(one_worker: OneWorker) -> None:
    await one_worker.begin("mode: async\ncall: {concurrency: 2, circuit: {failures: 1, within: 30s, open: 1s}}")
    one_worker.hub.gates.leave(ROUTE, 0, failed=True)
    await eventually(lambda: one_worker.hub.gates.state(ROUTE).circuit == "half-open")
    await one_worker.accepted()
    one_worker.sleep()
    one_worker.hub.due(ROUTE)
    await one_worker.said("trial")
    await one_worker.wake()
    await one_worker.called()
