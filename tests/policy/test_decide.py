from __future__ import annotations

import pytest

from strangler.policy.decide import decide
from strangler.policy.model import Mode, Rollout
from strangler.policy.prefer import NONE, Preferences
from tests.policy.builders import a_route

ASYNC, BOTH, WAIT = Preferences(True), Preferences(True, 7), Preferences(False, 7)


@pytest.mark.parametrize(
    ("mode", "preferences", "wait", "accepts_202", "applied"),
    [
        (Mode.ASYNC, NONE, 2.0, True, ()),
        (Mode.ASYNC, ASYNC, 0.0, True, ("respond-async",)),
        (Mode.ASYNC, BOTH, 7.0, True, ("respond-async", "wait=7")),
        (Mode.ASYNC, WAIT, 7.0, True, ("wait=7",)),
        (Mode.ASYNC, Preferences(False, 0), 0.0, True, ("wait=0",)),
        (Mode.COMPAT, NONE, 2.0, False, ()),
        (Mode.COMPAT, ASYNC, 0.0, True, ("respond-async",)),
        (Mode.COMPAT, BOTH, 7.0, True, ("respond-async", "wait=7")),
        (Mode.COMPAT, WAIT, 2.0, False, ()),
        (Mode.PASSTHROUGH, BOTH, 0.0, False, ()),
    ],
)
def test_the_table_of_the_wire_contract(
    mode: Mode, preferences: Preferences, wait: float, accepts_202: bool, applied: tuple[str, ...]
) -> None:
    decision = decide(a_route("r", mode=mode, wait=2.0), preferences, None)
    assert decision[:4] == (mode, wait, accepts_202, applied)
    assert decision.honoured == tuple(text.split("=")[0] for text in applied)


@pytest.mark.parametrize("mode", list(Mode))
def test_preferences_that_are_ignored_are_as_none(mode: Mode) -> None:
    route = a_route("r", mode=mode, wait=2.0, prefer="ignore")
    assert decide(route, BOTH, None) == decide(route, NONE, None)


def test_a_client_within_a_rollout_gets_its_mode_and_the_usual_wait_of_it() -> None:
    to_async = a_route("r", rollout=Rollout(mode=Mode.ASYNC, percent=100, seed="s"))
    assert decide(to_async, NONE, "c")[:3] == (Mode.ASYNC, 0.0, True)
    to_compat = a_route("r", rollout=Rollout(mode=Mode.COMPAT, percent=100, seed="s"))
    assert decide(to_compat, NONE, "c")[:3] == (Mode.COMPAT, 65.0, False)
    waiting = a_route("r", rollout=Rollout(mode=Mode.ASYNC, percent=100, seed="s", wait=3.0))
    assert decide(waiting, NONE, "c").wait == 3.0


def test_preferences_count_for_the_mode_of_the_rollout() -> None:
    route = a_route("r", rollout=Rollout(mode=Mode.COMPAT, percent=100, seed="s"))
    assert decide(route, ASYNC, "c").accepts_202
    assert decide(route, ASYNC, None).applied == ()


def test_everybody_else_gets_the_mode_of_the_route() -> None:
    rollout = Rollout(mode=Mode.PASSTHROUGH, percent=0, seed="s", include=("in",), exclude=("out",))
    route = a_route("r", mode=Mode.COMPAT, wait=9.0, rollout=rollout)
    for client in (None, "out", "beyond"):
        assert decide(route, NONE, client)[:3] == (Mode.COMPAT, 9.0, False)
    assert decide(route, NONE, "in").mode is Mode.PASSTHROUGH


def test_a_decision_says_why() -> None:
    route = a_route("r", mode=Mode.ASYNC, rollout=Rollout(mode=Mode.ASYNC, percent=0, seed="s"))
    assert decide(a_route("r"), NONE, None).reason == "mode of the route"
    assert decide(route, BOTH, "c").reason == "rollout: beyond; Prefer: respond-async, wait=7"
