"""What follows from an outcome: the transitions of the process, decided and nothing done."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from strangler.domain.outcome import Completed, Failed, InDoubt, Outcome, Pending, Rejected, Retry
from strangler.domain.process import Effect, Process, State
from strangler.domain.retry import delay
from strangler.domain.steps import Doubt, Expire, Finish, Follow, Postpone, Result, Resume, Transition
from strangler.policy.follow import FOLLOW_OVER, NOWHERE, next_look
from strangler.policy.interpret import CREDENTIALS_LOST
from strangler.policy.model import CallPolicy, FollowPolicy, OnInDoubt

DEADLINE_PASSED = "deadline-passed"
REPEAT_WITHDRAWN = "repeat-withdrawn"
"""It was to be repeated, and the policy of today wants a person to settle it."""


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
    target: str | None = None,
    stood_still: int = 0,
) -> tuple[Transition, ...]:
    """The transitions that an attempt's outcome leads to, to be committed as one.

    Args:
        process: as it is while the attempt is under way.
        chance: drawn from [0, 1), for the jitter.
        result: what the process is to say of the reply; None: no whole reply came.
        target: where the upstream can be asked about what it took; None: nobody knows.
        stood_still: for how many milliseconds the clock of the process stood still, because calls were paused.
    """
    match outcome:
        case Completed() | Rejected() | Failed():
            return (finished(process, outcome, result),)
        case Retry(reason, after):
            if repeats(process):
                wait = delay(call.backoff, process.tries, chance, after)
                return (Postpone(now + round(wait * 1000), reason),)
            # No 202 has left: a client that still waits is told at once and may decide for itself.
            return (finished(process, Failed(reason, Effect.NONE), result),)
        case Pending():
            if target is None:
                return (untold(NOWHERE, on_in_doubt),)
            return (looked_after(process, outcome, call, target, now, stood_still),)
        case InDoubt(reason):
            return _in_doubt(process, reason, call, on_in_doubt, now, chance, result)
        case _:
            assert_never(outcome)


def repeats(process: Process) -> bool:
    """Whether what surely did nothing is sent again; where it is not, the reply that says so is the client's."""
    return process.promised or process.unresolved


def finished(process: Process, outcome: Completed | Rejected | Failed, result: Result | None) -> Finish:
    """The end that an outcome is, by itself: nothing of the policy counts any more."""
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


def looked_after(
    process: Process, pending: Pending, call: CallPolicy, target: str, now: int, stood_still: int
) -> Follow:
    """The upstream has not decided: when and where it is asked next.

    Args:
        stood_still: for how many milliseconds the clock of the process stood still, because calls were paused. Until
            when it is asked is told by that clock, as its deadline is.
    """
    follow = call.follow or FollowPolicy()
    duration = round(follow.duration * 1000)
    clock = now - stood_still
    first = process.state is not State.FOLLOWING
    until = process.follow_until_at if not first else None
    until = until if until is not None else clock + duration
    due = stood_still + next_look(follow, until - duration, clock, until, pending.after)
    return Follow(due, target, until, "taken" if first else "not yet", pending.status, pending.reason)


def untold(reason: str, on_in_doubt: OnInDoubt) -> Doubt | Finish:
    """The upstream took it, and does not tell what became of it. It is never repeated."""
    if on_in_doubt == "fail":
        return Finish(State.FAILED, Effect.UNKNOWN, None, reason)
    return Doubt(reason, settling=False)


def followed_to_end(
    process: Process, outcome: Completed | Rejected | Failed, result: Result | None, rule: str | None
) -> Finish:
    """The upstream decided, by a reply that the process is to say ``result`` of; ``rule`` says what the reply means."""
    return replace(finished(process, outcome, result), note=rule)


def settled_late(process: Process, outcome: Outcome, result: Result | None) -> tuple[Transition, ...] | None:
    """What a reply that came late, under a stale fence, does to a process as it stands now; None: nothing.

    It settles a process that is still in doubt, also one that already waits for its repeat, even if the upstream said
    meanwhile that nothing had happened.
    """
    if isinstance(outcome, Retry | Pending | InDoubt):
        return None
    if process.state is State.IN_DOUBT:
        return (finished(process._replace(unresolved=process.attempts > 1), outcome, result),)
    if process.state is State.WAITING and (process.unresolved or process.repeated):
        return Doubt("late-reply", settling=True), finished(
            process._replace(unresolved=process.attempts > 1), outcome, result
        )
    return None


def overdue(process: Process) -> Transition:
    """What becomes of a process for which it is too late: its deadline passed, or it was followed for too long."""
    if process.state is State.FOLLOWING:
        return Doubt(FOLLOW_OVER, settling=False)
    return Expire() if process.cancellable else Doubt(DEADLINE_PASSED, settling=False)


def withdrawn(process: Process, on_in_doubt: OnInDoubt, *, lost: bool) -> Doubt | None:
    """What becomes of a repeat that is due and that the policy does not want any more; None: it may begin.

    One that a person ordered, or that follows the upstream's word that it did nothing, is no matter of the policy.

    Args:
        lost: it cannot be made, since the credentials that it goes with do not open.
    """
    if not process.unresolved:
        return None
    if lost:
        return Doubt(CREDENTIALS_LOST, settling=False)
    if not process.repeated and on_in_doubt == "review":
        return Doubt(REPEAT_WITHDRAWN, settling=False)
    return None


def _in_doubt(
    process: Process,
    reason: str,
    call: CallPolicy,
    on_in_doubt: OnInDoubt,
    now: int,
    chance: float,
    result: Result | None,
) -> tuple[Transition, ...]:
    match on_in_doubt:
        case "fail":
            return (Finish(State.FAILED, Effect.UNKNOWN, None, reason, result),)
        case "retry" if process.attempts < call.attempts_for(process.method):
            # The legacy side may still be at work on what we lost: no repeat starts before it has settled.
            wait = max(call.settle, delay(call.backoff, process.tries, chance))
            return Doubt(reason, settling=True), Resume(now + round(wait * 1000))
        case "probe" if call.probe is not None:
            return (Doubt(reason, settling=True, due_at=now + round(call.settle * 1000)),)
        case _:
            return (Doubt(reason, settling=False),)
