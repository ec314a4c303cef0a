"""The circuit of a route: closed, open, half-open."""

from __future__ import annotations

import pytest

from strangler.domain.exchange import Fault, FaultKind, Hindrance
from strangler.policy.circuit import Circuit, Closed, HalfOpen, Open, after_call, says_down
from strangler.policy.model import CircuitPolicy

POLICY = CircuitPolicy(failures=3, within=10.0, open=30.0)
NOON = 1_800_000_000_000


def called(*calls: tuple[bool, int], circuit: Circuit | None = None) -> Circuit:
    """The circuit after calls that failed or not, so many milliseconds after noon."""
    circuit = circuit or Closed()
    for failed, after in calls:
        circuit = after_call(circuit, POLICY, failed, NOON + after, trial=False)
    return circuit


def test_failures_in_a_row_open_it_for_a_while() -> None:
    assert isinstance(called((True, 0), (True, 1000)), Closed)
    assert called((True, 0), (True, 1000), (True, 9000)) == Open(NOON + 9000 + 30_000)


def test_a_reply_in_between_begins_the_count_anew() -> None:
    assert called((True, 0), (True, 1), (False, 2)) == Closed()
    assert isinstance(called((True, 0), (True, 1), (False, 2), (True, 3), (True, 4)), Closed)


def test_failures_that_lie_far_apart_do_not_open_it() -> None:
    assert isinstance(called((True, 0), (True, 5000), (True, 10_000)), Closed)
    assert isinstance(called((True, 0), (True, 5000), (True, 10_000), (True, 14_999)), Open)


def test_one_failure_is_enough_where_the_policy_says_so() -> None:
    policy = CircuitPolicy(failures=1, within=1.0, open=2.0)
    assert after_call(Closed(), policy, True, NOON, trial=False) == Open(NOON + 2000)


def test_what_began_before_it_opened_decides_nothing() -> None:
    opened = Open(NOON + 30_000)
    assert called((False, 10), (True, 20), circuit=opened) == opened
    for circuit in (HalfOpen(), HalfOpen(trial=True)):
        assert called((False, 10), (True, 20), circuit=circuit) == circuit


@pytest.mark.parametrize(("failed", "after"), [(False, Closed()), (True, Open(NOON + 30_000))])
def test_the_one_call_that_is_let_through_decides(failed: bool, after: Circuit) -> None:
    assert after_call(HalfOpen(trial=True), POLICY, failed, NOON, trial=True) == after


@pytest.mark.parametrize(
    ("fault", "status", "down"),
    [
        (Fault(FaultKind.NOT_SENT, "connection refused"), 0, True),
        (Fault(FaultKind.INTERRUPTED, "timeout after 60 s", timeout=True), 0, True),
        *[(Fault(kind, "the disk fails", ours=Hindrance.STORE), 0, None) for kind in FaultKind],
        *[(None, status, True) for status in (502, 503, 504)],
        *[(None, status, False) for status in (200, 302, 401, 404, 409, 429, 500, 501)],
    ],
)
def test_what_says_that_the_legacy_system_is_not_there(fault: Fault | None, status: int, down: bool | None) -> None:
    assert says_down(fault, status) is down
