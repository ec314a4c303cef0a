"""The exception queue: what a person has to look at, until when, and what that person may do about it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from strangler.domain.process import Process, State
from strangler.domain.steps import Finish
from strangler.domain.transitions import TABLE

ExceptionKind = Literal[
    "in_doubt",  # a call was sent, nobody knows what it did, and only a person can settle it
    "late_reply",  # a reply came after its process had been settled otherwise
    "dead_delivery",  # a receiver could not be told, and is no longer tried
    "receiver_gone",  # a receiver says that it is gone: what is for it is held
    "integrity",  # the record contradicts itself
    "orphan",  # an open process that nothing and nobody is going to settle
    "expired",  # a process that was promised, and never done
]

KINDS: tuple[ExceptionKind, ...] = (
    *("in_doubt", "late_reply", "dead_delivery", "receiver_gone", "integrity", "orphan", "expired"),
)

SETTLED_WITH_PROCESS: tuple[ExceptionKind, ...] = ("in_doubt", "orphan")
"""What nobody has to look at any more once its process is settled."""


ABOUT_DELIVERIES: tuple[ExceptionKind, ...] = ("dead_delivery", "receiver_gone")
"""What is about one delivery, whose name is the subject: over when the delivery is put back, or released."""


class Action(StrEnum):
    """What may be done about an exception; each of them closes it."""

    COMPLETE = "complete"  # the process is completed: the legacy system did it
    REJECT = "reject"  # the process is rejected: the legacy system refused it
    FAIL = "fail"  # the process has failed
    REPEAT = "repeat"  # it surely did not happen: the call is made again
    REDRIVE = "redrive"  # the receiver is tried again
    ACCEPT = "accept"  # it was looked at, and stays as it is


ENDS: Mapping[Action, State] = {
    Action.COMPLETE: State.COMPLETED,
    Action.REJECT: State.REJECTED,
    Action.FAIL: State.FAILED,
}
"""How a process ends by an action."""

_HOUR = 3_600_000
_DAY = 24 * _HOUR

DUE_AFTER: Mapping[ExceptionKind, int] = {
    "in_doubt": 4 * _HOUR,
    "late_reply": _DAY,
    "dead_delivery": _DAY,
    "receiver_gone": _DAY,
    "integrity": _DAY,
    "orphan": 4 * _HOUR,
    "expired": 3 * _DAY,
}
"""Milliseconds from its opening until somebody should have looked."""


def allowed(kind: ExceptionKind, process: Process | None, now: int) -> tuple[Action, ...]:
    """What may be done about an open exception, as its process (None: there is none) stands now, its deadline too."""
    match kind:
        case "in_doubt" | "orphan":
            return _settling(process, now) or (Action.ACCEPT,)
        case "dead_delivery" | "receiver_gone":
            return (Action.REDRIVE, Action.ACCEPT)
        case _:
            return (Action.ACCEPT,)


def _settling(process: Process | None, now: int) -> tuple[Action, ...]:
    if process is None:
        return ()
    ends = tuple(action for action, state in ENDS.items() if may_end(process, state))
    return (*ends, Action.REPEAT) if may_repeat(process, now) else ends


def may_end(process: Process, state: State, *, held: bool = False) -> bool:
    """Whether a person may say how a process ended: nobody knows, or nobody is going to find out.

    ``held``: its route is on hold, so what is to be sent stays here. The legacy system may have done it already: a
    store that was restored from a copy does not know what was sent since.
    """
    forsaken = process.due_at is None and process.owner is None
    stays = held and process.state in (State.RECEIVED, State.WAITING)
    return (process.state is State.IN_DOUBT or forsaken or stays) and state in TABLE[process.state].get(Finish, ())


def may_repeat(process: Process, now: int) -> bool:
    """Whether a call in doubt may be made again: past its deadline (as it stands now) it would only be in doubt again,
    and what is going to be settled without a person may just be answered."""
    return process.state is State.IN_DOUBT and not process.settling and now < process.deadline_at
