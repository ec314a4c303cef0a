"""A route's circuit: after failures in a row its calls pause for a while, then one is let through to see.

A failure says that the legacy system, or the way to it, is not there: a call that could not be sent, one that was cut
off or ran out of time, and the statuses by which gateways and systems say so (502, 503, 504). Any other whole reply, a
500 too, says that it is there, and begins the count anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from strangler.domain.exchange import Fault
from strangler.policy.model import CircuitPolicy

_NOT_THERE = frozenset({502, 503, 504})


def says_down(fault: Fault | None, status: int) -> bool | None:
    """Whether a call failed in the sense of the circuit; None: what kept it from its end was of our own, and says
    nothing. ``status`` is that of its reply, where there was no fault."""
    if fault is None:
        return status in _NOT_THERE
    return True if fault.ours is None else None


@dataclass(frozen=True, slots=True)
class Closed:
    """Calls go on."""

    failures: tuple[int, ...] = ()  # when the latest failures in a row were


class Open(NamedTuple):
    """Calls are paused."""

    until_at: int


class HalfOpen(NamedTuple):
    """One call is let through; what becomes of it decides."""

    trial: bool = False  # it is under way


Circuit = Closed | Open | HalfOpen


def after_call(circuit: Circuit, policy: CircuitPolicy, failed: bool, now: int, *, trial: bool) -> Circuit:
    """The circuit after a call. ``trial``: it is the one that was let through.

    A call that began before the circuit opened, and ends now, decides nothing.
    """
    match circuit:
        case Closed(failures):
            if not failed:
                return circuit if not failures else Closed()
            since = now - round(policy.within * 1000)
            recent = (*(at for at in failures if at > since), now)[-policy.failures :]
            return _opened(policy, now) if len(recent) >= policy.failures else Closed(recent)
        case HalfOpen(trial=True) if trial:
            return _opened(policy, now) if failed else Closed()
    return circuit


def _opened(policy: CircuitPolicy, now: int) -> Open:
    return Open(now + round(policy.open * 1000))
