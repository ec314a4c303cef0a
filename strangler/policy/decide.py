"""How a route answers one request: its mode, how long the client waits, and whether it may be told 202.

The table is in docs/http.md, under *Prefer*:

=========== =================== ============= ====================== ==========
mode        nothing             respond-async respond-async, wait=N  wait=N
=========== =================== ============= ====================== ==========
async       202 after ``wait``  202 at once   202 after N            202 after N
compat      504 after ``wait``  202 at once   202 after N            as nothing
passthrough untouched
=========== =================== ============= ====================== ==========
"""

from __future__ import annotations

from typing import NamedTuple

from strangler.policy import prefer
from strangler.policy.model import Mode, Route
from strangler.policy.prefer import Preferences
from strangler.policy.rollout import judge

COMPAT_MARGIN = 5.0
"""Seconds that a compat client waits longer than one call may take, unless the policy says otherwise."""


class Decision(NamedTuple):
    """The verdict over one request."""

    mode: Mode
    wait: float  # seconds that the client is held; 0: answered at once
    accepts_202: bool  # when the wait is over it is told 202; otherwise 504
    applied: tuple[str, ...]  # for Preference-Applied: "respond-async", "wait=10"
    reason: str  # "mode of the route", "rollout: within", and "; Prefer: respond-async" where it was honoured

    @property
    def honoured(self) -> tuple[str, ...]:
        """The names of the preferences that were honoured, to be taken out of what goes upstream."""
        return tuple([text.partition("=")[0] for text in self.applied]) if self.applied else ()


def usual_wait(mode: Mode, timeout: float) -> float:
    """How long a client of this mode waits where the policy does not say; ``timeout`` is ``call.timeout``."""
    return timeout + COMPAT_MARGIN if mode is Mode.COMPAT else 0.0


def decide(route: Route, preferences: Preferences, client_value: str | None) -> Decision:
    """How ``route`` answers a client with these preferences, whose value of ``rollout.by`` is ``client_value``."""
    mode, wait, reason = _mode(route, client_value)
    if mode is Mode.PASSTHROUGH:
        return Decision(mode, 0.0, False, (), reason)
    if route.prefer == "honor":
        if preferences.respond_async:
            if preferences.wait is None:
                return Decision(mode, 0.0, True, (prefer.RESPOND_ASYNC,), f"{reason}; Prefer: respond-async")
            both = (prefer.RESPOND_ASYNC, f"{prefer.WAIT}={preferences.wait}")
            return Decision(mode, float(preferences.wait), True, both, f"{reason}; Prefer: {', '.join(both)}")
        if preferences.wait is not None and mode is Mode.ASYNC:
            wish = f"{prefer.WAIT}={preferences.wait}"
            return Decision(mode, float(preferences.wait), True, (wish,), f"{reason}; Prefer: {wish}")
    return Decision(mode, wait, mode is Mode.ASYNC, (), reason)


def _mode(route: Route, client_value: str | None) -> tuple[Mode, float, str]:
    rollout = route.rollout
    if rollout is None:
        return route.mode, route.wait, "mode of the route"
    verdict = judge(rollout, client_value)
    if verdict in ("included", "within"):
        wait = rollout.wait if rollout.wait is not None else usual_wait(rollout.mode, route.call.timeout)
        return rollout.mode, wait, f"rollout: {verdict}"
    return route.mode, route.wait, f"rollout: {verdict}"
