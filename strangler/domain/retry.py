"""Schedules: backoff with jitter, and reading an upstream's Retry-After. Time and chance are arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from strangler.domain.instant import from_http_date

Jitter = Literal["full", "equal", "none"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff; all lengths in seconds."""

    initial: float = 1.0
    factor: float = 2.0
    max: float = 60.0
    jitter: Jitter = "full"


def delay(backoff: Backoff, tries: int, chance: float, retry_after: float | None = None) -> float:
    """Seconds until the next attempt after ``tries`` of them; ``chance`` is drawn from [0, 1).

    "full" and "equal" are the names of Brooker, "Exponential Backoff And Jitter" (2015). A ``Retry-After`` of the
    upstream is a lower bound.
    """
    # An exponent over 64 says nothing that the maximum does not, and would overflow in the end.
    whole = min(backoff.max, backoff.initial * backoff.factor ** min(tries - 1, 64))
    match backoff.jitter:
        case "full":
            wait = whole * chance
        case "equal":
            wait = whole / 2 + whole / 2 * chance
        case "none":
            wait = whole
    return max(wait, retry_after or 0.0)


def parse_retry_after(value: bytes | None, now: int) -> float | None:
    """Seconds that a ``Retry-After`` asks for, as a number or a date (RFC 9110 section 10.2.3); None: nothing."""
    if value is None:
        return None
    text = value.strip().decode("latin-1")
    if text.isascii() and text.isdigit():
        return float(text[:9])
    at = from_http_date(text)
    return max(0.0, (at - now) / 1000) if at is not None else None
