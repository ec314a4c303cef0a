"""What is legal in `translate`, `outcome` and `errors`, but unwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from strangler.config.located import KeyPath
from strangler.policy.model import Route
from strangler.policy.wall import Condition, OutcomeRule

_OPEN = frozenset({"retry", "in_doubt"})


class WallAdvice(NamedTuple):
    """One piece of it."""

    keys: KeyPath
    text: str


def of_wall(route: Route) -> Iterator[WallAdvice]:
    """What is unwise about the wall of a route."""
    wall = route.promise.wall.wall if route.promise.wall is not None else None
    if not route.records:
        if wall is not None:
            key = "outcome" if wall.outcome else "translate"
            yield WallAdvice((key,), "has no effect: what passes through is never looked into")
        if route.errors is not None:
            yield WallAdvice(("errors",), "has no effect: what passes through is answered by the legacy system")
        return
    if wall is None:
        return
    yield from _never_reached("outcome", [rule.when for rule in wall.outcome])
    yield from _never_reached("translate", [response.when for response in wall.responses])
    for index, rule in enumerate(wall.outcome):
        yield from _of_rule(index, rule)


def _never_reached(section: str, conditions: list[Condition]) -> Iterator[WallAdvice]:
    """Of those behind one that is for all replies, the first."""
    for index, condition in enumerate(conditions[:-1]):
        if not condition.statuses and not condition.headers and condition.body is None:
            keys: KeyPath = (section,) if section == "outcome" else (section, "response")
            yield WallAdvice((*keys, index + 1), f"never reached: number {index} of them is for all replies")
            return


def _of_rule(index: int, rule: OutcomeRule) -> Iterator[WallAdvice]:
    if rule.state in _OPEN and rule.status is not None:
        yield WallAdvice(("outcome", index, "status"), f"has no effect: {rule.state} is no end of a process")
    if rule.state in _OPEN and rule.effect is not None:
        yield WallAdvice(("outcome", index, "effect"), f"has no effect: {rule.state} is no end of a process")
    if rule.state == "completed" and rule.effect == "none":
        yield WallAdvice(("outcome", index, "effect"), "lets clients send again what was completed; is it rejected?")
