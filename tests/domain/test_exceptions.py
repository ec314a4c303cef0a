"""What may be done about an exception, as its process stands."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from strangler.domain.exceptions import (
    DUE_AFTER,
    ENDS,
    KINDS,
    SETTLED_WITH_PROCESS,
    Action,
    ExceptionKind,
    allowed,
    may_end,
    may_repeat,
)
from strangler.domain.process import Process, State
from strangler.domain.steps import Finish
from strangler.domain.transitions import TABLE
from tests.store.builders import DAY, NOON, draft

SETTLING = (Action.COMPLETE, Action.REJECT, Action.FAIL)


def a_process(state: State, **fields: Any) -> Process:
    return draft()._replace(state=state, **fields)


def test_every_kind_has_a_name_a_due_instant_and_something_that_may_be_done() -> None:
    assert set(KINDS) == set(get_args(ExceptionKind)) == set(DUE_AFTER)
    for kind in KINDS:
        for process in (None, *(a_process(state) for state in State)):
            assert allowed(kind, process, NOON), "else it could never be closed"


def test_a_doubt_is_settled_or_repeated_and_not_accepted_as_it_is() -> None:
    doubted = a_process(State.IN_DOUBT)
    for kind in SETTLED_WITH_PROCESS:
        assert allowed(kind, doubted, NOON) == (*SETTLING, Action.REPEAT)


def test_a_call_is_not_repeated_past_its_deadline_nor_while_something_else_is_going_to_settle_it() -> None:
    assert not may_repeat(a_process(State.IN_DOUBT), NOON + DAY)
    assert not may_repeat(a_process(State.IN_DOUBT, settling=True), NOON)
    assert may_end(a_process(State.IN_DOUBT, settling=True, due_at=5), State.COMPLETED)


@pytest.mark.parametrize("state", State)
def test_who_is_neither_in_doubt_nor_forsaken_is_not_ended_by_hand(state: State) -> None:
    for fields in ({"due_at": 5}, {"owner": "worker-1"}):
        for end in ENDS.values():
            assert may_end(a_process(state, **fields), end) == (state is State.IN_DOUBT)


@pytest.mark.parametrize("state", State)
def test_a_forsaken_process_is_ended_where_the_table_allows_it(state: State) -> None:
    for end in ENDS.values():
        assert may_end(a_process(state), end) == (end in TABLE[state].get(Finish, ()))


def test_a_receiver_may_be_tried_again() -> None:
    for kind in ("dead_delivery", "receiver_gone"):
        assert allowed(kind, None, NOON) == (Action.REDRIVE, Action.ACCEPT)  # type: ignore[arg-type]
