"""Conditions on a reply, and the rules of `outcome` that they decide: the first that holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, assert_never

from strangler.domain.exchange import Headers, joined_field, joined_fields
from strangler.domain.outcome import Completed, Failed, InDoubt, Outcome, Pending, Rejected, Retry
from strangler.domain.process import Effect
from strangler.domain.retry import parse_retry_after
from strangler.policy import wildcard
from strangler.policy.evaluation import holds
from strangler.policy.expressions import ExpressionError
from strangler.policy.formula import Compiled, FindHook
from strangler.policy.readable import Unparsable, whole_text
from strangler.policy.wall import Condition, Formula, OutcomeRule
from strangler.policy.xml_writing import text_of

RULE_FAILED = "outcome-rule-failed"
SAID_SO = "upstream-said-so"
"""The reason of a rule that has none, where one is needed."""

_REASON_LENGTH = 1000


class LooksAt(Protocol):
    """A reply, as far as a formula is given it."""

    def over_body(self, formula: Compiled) -> object:
        """The value of a formula: an expression over the body of the reply, a hook over the whole document.

        Raises:
            Unparsable: the body cannot be read.
            ExpressionError: the formula cannot be evaluated.
        """
        ...


class Test:
    """A compiled condition."""

    __slots__ = ("_body", "_headers", "_statuses")

    def __init__(self, condition: Condition, find: FindHook) -> None:
        self._statuses = condition.statuses
        self._headers = tuple((name.encode(), term) for name, term in condition.headers.items())
        self._body = Compiled(condition.body, find) if condition.body is not None else None

    @property
    def is_hook(self) -> bool:
        """Whether it calls a function of Python."""
        return self._body is not None and self._body.is_hook

    @property
    def names_statuses(self) -> bool:
        """Whether it is for replies of some statuses only."""
        return bool(self._statuses)

    @property
    def looks_at_body(self) -> bool:
        """Whether it needs the body of the reply."""
        return self._body is not None

    def holds(self, status: int, headers: Headers, reply: LooksAt) -> bool:
        """Whether it holds of a reply; the body is read only where all else does.

        Raises:
            Unparsable, ExpressionError: as `LooksAt.over_body`.
        """
        if self._statuses and not any(low <= status <= high for low, high in self._statuses):
            return False
        if self._headers:
            fields = joined_fields(headers)
            for name, term in self._headers:
                value = fields.get(name)
                if value is None or not wildcard.fits(term, value.decode("utf-8", "backslashreplace")):
                    return False
        return self._body is None or holds(reply.over_body(self._body))


class Decided(NamedTuple):
    """What a reply means by the rules of a route."""

    outcome: Outcome
    rule: str  # "outcome[2]", or why none of them could say


class Rules:
    """The compiled rules of a route."""

    def __init__(self, rules: Sequence[OutcomeRule], find: FindHook) -> None:
        self._rules = [
            (Test(rule.when, find), _compiled(rule.reason, find), rule, f"outcome[{index}]")
            for index, rule in enumerate(rules)
        ]

    @property
    def looks_at_body(self) -> bool:
        """Whether some rule needs the body of the reply."""
        return any(test.looks_at_body or reason is not None for test, reason, _, _ in self._rules)

    @property
    def has_hooks(self) -> bool:
        """Whether some rule calls a function of Python."""
        return any(test.is_hook or (reason is not None and reason.is_hook) for test, reason, _, _ in self._rules)

    def decide(self, status: int, headers: Headers, reply: LooksAt, now: int) -> Decided | None:
        """What the first rule that holds says; None: none holds. A condition that cannot be evaluated is never passed
        over, because the rules behind it were written for what it lets through."""
        for test, reason, rule, name in self._rules:
            try:
                if not test.holds(status, headers, reply):
                    continue
            except (ExpressionError, Unparsable) as error:
                return Decided(InDoubt(RULE_FAILED), f"{name} could not be evaluated: {error}")
            said = _said(reason, reply)
            return Decided(_outcome(rule, said, headers, now), name)
        return None


def _compiled(formula: Formula | None, find: FindHook) -> Compiled | None:
    return Compiled(formula, find) if formula is not None else None


def _said(reason: Compiled | None, reply: LooksAt) -> str | None:
    """The reason in the upstream's words. It decides nothing, so one that cannot be had is left out."""
    if reason is None:
        return None
    try:
        text = text_of(reply.over_body(reason))
    except (ExpressionError, Unparsable):
        return None
    return whole_text(text[:_REASON_LENGTH]) or None


def _outcome(rule: OutcomeRule, reason: str | None, headers: Headers, now: int) -> Outcome:
    match rule.state:
        case "completed":
            return Completed(rule.status, reason, rule.effect or Effect.APPLIED)
        case "rejected":
            return Rejected(rule.status, reason, rule.effect or Effect.NONE)
        case "failed":
            return Failed(reason or SAID_SO, rule.effect or Effect.UNKNOWN, rule.status)
        case "retry":
            return Retry(reason or SAID_SO, parse_retry_after(joined_field(headers, b"retry-after"), now))
        case "pending":
            return Pending(rule.status, reason, parse_retry_after(joined_field(headers, b"retry-after"), now))
        case "in_doubt":
            return InDoubt(reason or SAID_SO)
        case _:
            assert_never(rule.state)
