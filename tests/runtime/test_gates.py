"""What one worker among several knows of gates, and what it asks."""

from __future__ import annotations

import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.domain.pause import Pause
from strangler.engine.gates import GateState
from strangler.engine.limits import Buckets
from strangler.engine.pauses import Pauses
from strangler.policy.model import Rate
from strangler.runtime.gates import Counter, ToldGate, ToldLimiter
from tests.engine.world import NOON, FakeClock

ROUTE = "submit-claim"


class Worker:
    """A gate that is told, and what it says."""

    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []
        self.opened: list[str] = []
        self.pauses = Pauses()
        self.clock = FakeClock()
        self.gate = ToldGate(
            self.pauses,
            self.clock,
            lambda *message: self.said.append(message),
            lambda route: route == ROUTE,
            self.opened.append,
        )

    def told(self, state: GateState, *pauses: tuple[int, int | None]) -> None:
        self.gate.heard(("gate", ROUTE, tuple(state), list(pauses)))


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_of_what_it_was_told_nothing_calls_begin(worker: Worker) -> None:
    assert worker.gate.enter(ROUTE) == 0
    assert worker.gate.shut(ROUTE) is None
    assert worker.said == []


def test_a_gate_that_is_shut_lets_nothing_in_until_it_is_opened(worker: Worker) -> None:
    for state in (GateState(held=True), GateState(circuit="open", until_at=NOON + 5000), GateState(circuit="trying")):
        worker.told(state, (NOON, None))
        assert worker.gate.enter(ROUTE) is None
        assert worker.gate.shut(ROUTE) is not None
        assert worker.opened == []
    assert worker.pauses.of(ROUTE) == (Pause(ROUTE, NOON),)
    worker.told(GateState(), (NOON, NOON + 70))
    assert worker.opened == [ROUTE]
    assert worker.gate.enter(ROUTE) == 0
    assert worker.pauses.of(ROUTE) == (Pause(ROUTE, NOON, NOON + 70),)


def test_who_is_refused_is_told_when_the_next_call_is_let_through(worker: Worker) -> None:
    worker.told(GateState(circuit="open", until_at=NOON + 4500))
    shut = worker.gate.shut(ROUTE)
    assert shut is not None
    assert shut.retry_after == 5


def test_what_is_not_said_of_all_gates_is_open(worker: Worker) -> None:
    worker.told(GateState(held=True), (NOON, None))
    worker.gate.heard(("gates", [("other", tuple(GateState(held=True)), [(NOON, None)])]))
    assert worker.opened == [ROUTE]
    assert worker.gate.enter(ROUTE) == 0
    assert worker.gate.enter("other") is None
    assert [pause.route for pause in worker.pauses.all()] == ["other"]


def test_the_one_call_is_asked_for_once_and_lent(worker: Worker) -> None:
    worker.told(GateState(circuit="half-open"))
    assert [worker.gate.enter(ROUTE), worker.gate.enter(ROUTE)] == [None, None]
    assert worker.said == [("trial", ROUTE)]
    worker.gate.heard(("trial", ROUTE, 17))
    worker.told(GateState(circuit="trying"))
    assert worker.gate.shut(ROUTE) is None
    assert [worker.gate.enter(ROUTE), worker.gate.enter(ROUTE)] == [17, None]
    worker.gate.leave(ROUTE, 17, failed=False)
    assert worker.said[1:] == [("called", ROUTE, 17, False)]


def test_a_trial_that_nobody_here_can_use_goes_back(worker: Worker) -> None:
    worker.gate.heard(("trial", ROUTE, 17))
    worker.gate.spare(ROUTE)
    worker.gate.spare(ROUTE)
    assert worker.said == [("called", ROUTE, 17, None)]


def test_after_a_new_beginning_it_is_asked_for_again(worker: Worker) -> None:
    worker.told(GateState(circuit="half-open"))
    worker.gate.enter(ROUTE)
    worker.gate.heard(("trial", ROUTE, 17))
    worker.gate.restart()
    worker.gate.enter(ROUTE)
    assert worker.said == [("trial", ROUTE)] * 2


def test_what_was_lent_goes_back_and_is_asked_for_again_where_it_is_needed(worker: Worker) -> None:
    worker.told(GateState(circuit="half-open"))
    worker.gate.enter(ROUTE)
    worker.gate.heard(("trial", ROUTE, 17))
    worker.gate.give_back()
    assert worker.said[1:] == [("called", ROUTE, 17, None)]
    worker.gate.enter(ROUTE)
    worker.gate.give_back()
    worker.gate.enter(ROUTE)
    assert worker.said[2:] == [("trial", ROUTE)] * 2


def test_how_calls_end_is_told_only_where_there_is_a_circuit(worker: Worker) -> None:
    worker.gate.leave(ROUTE, 0, failed=True)
    worker.gate.leave(ROUTE, 0, failed=None)
    worker.gate.leave("other", 0, failed=True)
    assert worker.said == [("called", ROUTE, 0, True)]


async def test_a_worker_is_told_what_is_left_as_if_it_had_counted_itself() -> None:
    counter = Counter(Buckets(FakeClock()))

    async def ask(*question: object) -> object:
        assert question[:2] == ("call", "take")
        return await counter.take(*question[2])  # type: ignore[misc]

    limiter = ToldLimiter(ask)
    readings = [await limiter.take("client", Rate(1, 60.0)) for _ in range(2)]
    assert [reading is not None and reading.allowed for reading in readings] == [True, False]


async def test_while_nobody_counts_nobody_is_limited() -> None:
    async def ask(*question: object) -> object:
        raise StoreUnavailable("the process that owns the store is away")

    assert await ToldLimiter(ask).take("client", Rate(1, 60.0)) is None
