"""What the rules of `outcome` say of a reply: the first that holds, with its words or those that stand for them."""

from __future__ import annotations

from typing import Any

import pytest

from strangler.config.hooks import find_hook
from strangler.domain.exchange import Headers
from strangler.domain.outcome import Completed, Failed, InDoubt, Outcome, Pending, Rejected, Retry
from strangler.domain.process import Effect
from strangler.policy.conditions import SAID_SO, Rules
from strangler.policy.formula import Compiled
from strangler.policy.wall import Condition, Formula, OutcomeRule, RuleState

LATER: Headers = [(b"Retry-After", b"7")]


class Body:
    """The body of a reply."""

    def __init__(self, value: object) -> None:
        self._value = value

    def over_body(self, formula: Compiled) -> object:
        return formula.value(self._value)


def outcome(rule: OutcomeRule, body: object = None, headers: Headers = LATER) -> Outcome | None:
    decided = Rules([rule], find_hook).decide(200, headers, Body(body), 0)
    return decided.outcome if decided is not None else None


@pytest.mark.parametrize(
    ("state", "said", "expected"),
    [
        ("completed", {}, Completed(None, None, Effect.APPLIED)),
        ("completed", {"effect": Effect.NONE, "status": "S"}, Completed("S", None, Effect.NONE)),
        ("rejected", {}, Rejected(None, None, Effect.NONE)),
        ("rejected", {"effect": Effect.UNKNOWN, "status": "S"}, Rejected("S", None, Effect.UNKNOWN)),
        ("failed", {}, Failed(SAID_SO, Effect.UNKNOWN)),
        ("failed", {"effect": Effect.NONE, "status": "S"}, Failed(SAID_SO, Effect.NONE, "S")),
        ("retry", {}, Retry(SAID_SO, 7.0)),
        ("pending", {"status": "S"}, Pending("S", None, 7.0)),
        ("in_doubt", {}, InDoubt(SAID_SO)),
    ],
)
def test_what_a_rule_says_without_a_reason(state: RuleState, said: dict[str, Any], expected: Outcome) -> None:
    assert outcome(OutcomeRule(when=Condition(), state=state, **said)) == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("completed", Completed(None, "why", Effect.APPLIED)),
        ("rejected", Rejected(None, "why", Effect.NONE)),
        ("failed", Failed("why", Effect.UNKNOWN)),
        ("retry", Retry("why", 7.0)),
        ("pending", Pending(None, "why", 7.0)),
        ("in_doubt", InDoubt("why")),
    ],
)
def test_the_reason_is_in_the_words_of_the_upstream(state: RuleState, expected: Outcome) -> None:
    rule = OutcomeRule(when=Condition(), state=state, reason=Formula(text="reason"))
    assert outcome(rule, {"reason": "why"}) == expected


@pytest.mark.parametrize("body", [{"reason": ""}, {}, {"reason": None}])
def test_a_reason_that_is_empty_is_none(body: object) -> None:
    rule = OutcomeRule(when=Condition(), state="completed", reason=Formula(text="reason"))
    assert outcome(rule, body) == Completed()


@pytest.mark.parametrize(("value", "holds"), [(b"job-\xff", True), (b"no-\xff", False)])
def test_a_condition_on_a_header_field_can_be_evaluated_whatever_bytes_it_has(value: bytes, holds: bool) -> None:
    rule = OutcomeRule(when=Condition(headers={"x-job": "job-*"}), state="completed")
    assert outcome(rule, headers=[(b"X-Job", value)]) == (Completed() if holds else None)


def test_no_rule_that_holds_says_nothing() -> None:
    assert outcome(OutcomeRule(when=Condition(statuses=((400, 499),)), state="completed")) is None
