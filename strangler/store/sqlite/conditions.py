"""Conditions for rows of processes, by what people call their state and status."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from strangler.domain.process import MACHINE_STATES, PublicState, State


def in_states(states: Iterable[tuple[State, bool | None]], values: list[Any]) -> str:
    """One of some states of the machine, each with what ``settling`` has to be (None: either)."""
    ways = []
    for state, settling in states:
        values.append(state.value)
        ways.append("state = ?")
        if settling is not None:
            values.append(int(settling))
            ways[-1] = "(state = ? AND settling = ?)"
    return f"({' OR '.join(ways)})"


def in_public_state(state: PublicState, values: list[Any]) -> str:
    """A client's word for a state."""
    return in_states(MACHINE_STATES[state], values)


def bears(status: str, means: Iterable[tuple[str, PublicState]], values: list[Any]) -> str:
    """A status: as stored, or as promises translate states."""
    values.append(status)
    ways = []
    for promise, state in means:
        values.append(promise)
        ways.append(f"(promise = ? AND {in_public_state(state, values)})")
    return f"(status = ? OR (status IS NULL AND ({' OR '.join(ways) or '0'})))"
