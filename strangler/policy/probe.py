"""Asking the upstream whether a call in doubt was applied: what its answers say, and what follows from them.

A question is read-only and decides nothing by itself. What cannot be evaluated, contradicts itself, or does not come is
never taken for a yes or a no.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from strangler.domain.exchange import Headers
from strangler.domain.process import Effect, Process, State
from strangler.domain.steps import Doubt, Finish, Probed, Result, Resume
from strangler.policy.conditions import LooksAt, Test
from strangler.policy.model import ProbePolicy

INCONCLUSIVE = "probe-inconclusive"
"""No condition holds of the answer."""

CONTRADICTION = "probe-contradicts-itself"
"""The answer says both that the call was applied and that it was not."""

CONDITION_FAILED = "probe-condition-failed"
QUESTION_FAILED = "probe-question-failed"
"""The request does not hold what the question is made of."""

RESULT_FAILED = "probe-result-failed"
UNANSWERED = "probe-unanswered"
ABSENT_AGAIN = "probe-absent-again"
"""The upstream knows nothing of it, for a second time: somebody has to look why it never gets there."""

NOT_ASKED = "probe-not-asked"
"""The policy of today asks no question any more, or wants a person to settle it."""

_LONGEST = 3600.0  # seconds that a Retry-After may ask for


@dataclass(frozen=True, slots=True)
class Applied:
    """It happened."""

    result: Result | None = None  # what the process says of the reply that is made of the answer; None: there is none


@dataclass(frozen=True, slots=True)
class Absent:
    """It surely did not happen."""


@dataclass(frozen=True, slots=True)
class Inconclusive:
    """Nobody knows more than before."""

    reason: str
    after: float | None = None  # seconds; the upstream's Retry-After


Finding = Applied | Absent | Inconclusive


def holds(condition: Test | None, status: int, headers: Headers, answer: LooksAt) -> bool:
    """Whether a condition holds of an answer. One that names no status is about 2xx only: the page of an error is not
    what it was written for.

    Raises:
        Unparsable, ExpressionError: as `LooksAt.over_body`.
    """
    if condition is None or (not condition.names_statuses and not 200 <= status < 300):
        return False
    return condition.holds(status, headers, answer)


def judge(applied: bool, absent: bool, after: float | None = None) -> Finding:
    """What an answer says of which these conditions hold."""
    if applied and absent:
        return Inconclusive(CONTRADICTION, after)
    if applied:
        return Applied()
    return Absent() if absent else Inconclusive(INCONCLUSIVE, after)


def settled(process: Process, finding: Finding, probe: ProbePolicy, now: int) -> Finish | Resume | Probed | Doubt:
    """What becomes of a process in doubt that was asked about."""
    match finding:
        case Applied(result):
            return Finish(State.COMPLETED, Effect.APPLIED, result=result)
        case Absent():
            if process.repeated:
                return Doubt(ABSENT_AGAIN, settling=False)
            return Resume(now, absent=True)
        case Inconclusive(reason, after):
            if process.probes + 1 >= probe.attempts:
                return Doubt(reason, settling=False)
            wait = max(probe.backoff, min(after or 0.0, _LONGEST))
            return Probed(now + round(wait * 1000), reason)
        case _:
            assert_never(finding)
