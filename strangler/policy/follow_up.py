"""What follows from an outcome: the transitions of the process, decided and nothing done."""

from __future__ import annotations

from typing import Literal, assert_never

from strangler.domain.outcome import Completed, Failed, InDoubt, Outcome, Rejected, Retry
from strangler.domain.process import Effect, Process, State
from strangler.domain.retry import delay
from strangler.domain.transitions import Doubt, Expire, Finish, Postpone, Result, Resume, Transition
from strangler.policy.model import CallPolicy

OnInDoubt = Literal["review", "retry", "fail"]

DEADLINE_PASSED = "deadline-passed"


def stricter(promised: OnInDoubt, today: OnInDoubt) -> OnInDoubt:
    """What was promised with the process holds; only a ``review`` of today's policy wins over it."""
    return "review" if today == "review" else promised


def follow_up(
    process: Process,
    outcome: Outcome,
    call: CallPolicy,
    on_in_doubt: OnInDoubt,
    now: int,
    chance: float,
    result: Result | None = None,
) -> tuple[Transition, ...]:
    """The transitions that an attempt's outcome leads to, to be committed as one.

    Args:
        process: as it is while the attempt is under way.
        chance: drawn from [0, 1), for the jitter.
        result: what the process is to say of the reply; None: no whole reply came.
    """
    match outcome:
        case Completed() | Rejected() | Failed():
            return (_finish(process, outcome, result),)
        case Retry(reason, after):
            if process.promised or process.unresolved:
                wait = delay(call.backoff, process.tries, chance, after)
                return (Postpone(now + round(wait * 1000), reason),)
            # No 202 has left: a client that still waits is told at once and may decide for itself.
            return (_finish(process, Failed(reason, Effect.NONE), result),)
        case InDoubt(reason):
            return _in_doubt(process, reason, call, on_in_doubt, now, chance)
        case _:
            assert_never(outcome)


def settled_late(process: Process, outcome: Outcome, result: Result | None) -> tuple[Transition, ...] | None:
    """What a reply that came late, under a stale fence, does to a process as it stands now; None: nothing.

    It settles a process that is still in doubt, also one that already waits for its repeat.
    """
    if isinstance(outcome, Retry | InDoubt):
        return None
    if process.state is State.IN_DOUBT:
        return (_finish(process._replace(unresolved=process.attempts > 1), outcome, result),)
    if process.state is State.WAITING and process.unresolved:
        return Doubt("late-reply", settling=True), _finish(
            process._replace(unresolved=process.attempts > 1), outcome, result
        )
    return None


def overdue(process: Process) -> Transition:
    """What becomes of a process that waits for a claim while its deadline passes."""
    return Expire() if process.cancellable else Doubt(DEADLINE_PASSED, settling=False)


def _finish(process: Process, outcome: Completed | Rejected | Failed, result: Result | None) -> Finish:
    match outcome:
        case Completed():
            state = State.COMPLETED
        case Rejected():
            state = State.REJECTED
        case Failed():
            state = State.FAILED
        case _:
            assert_never(outcome)
    effect = outcome.effect
    if process.unresolved and effect is Effect.NONE:
        # This attempt did nothing, but nobody knows what an earlier one did.
        effect = Effect.UNKNOWN
    return Finish(state, effect, outcome.status, outcome.reason, result)


def _in_doubt(
    process: Process, reason: str, call: CallPolicy, on_in_doubt: OnInDoubt, now: int, chance: float
) -> tuple[Transition, ...]:
    match on_in_doubt:
        case "fail":
            return (Finish(State.FAILED, Effect.UNKNOWN, None, reason),)
        case "retry" if process.attempts < call.attempts:
            # The legacy side may still be at work on what we lost: no repeat starts before it has settled.
            wait = max(call.settle, delay(call.backoff, process.tries, chance))
            return Doubt(reason, settling=True), Resume(now + round(wait * 1000))
        case _:
            return (Doubt(reason, settling=False),)
