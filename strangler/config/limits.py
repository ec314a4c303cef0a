"""`limits` and `call.circuit` of a route from their checked values."""

from __future__ import annotations

from typing import Any

from strangler.config.scalars import seconds
from strangler.config.section import Section
from strangler.policy.model import CircuitPolicy, Limits, Rate

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def build_limits(section: Section) -> Limits:
    """How many requests each client may send."""
    limits: dict[str, Any] = section.values["limits"]
    return Limits(accepts=read_rate(limits.get("accepts")), polls=read_rate(limits.get("polls")), by=limits["by"])


def build_circuit(section: Section) -> CircuitPolicy | None:
    """When calls pause; None: never."""
    values: dict[str, Any] | None = section.values["call"].get("circuit")
    if values is None:
        return None
    return CircuitPolicy(
        failures=int(values["failures"]), within=seconds(values["within"]), open=seconds(values["open"])
    )


def read_rate(text: str | None) -> Rate | None:
    """So many in so long, as in 100/min; None: there is no limit."""
    if text is None:
        return None
    requests, _, unit = text.partition("/")
    return Rate(int(requests), _SECONDS[unit])
