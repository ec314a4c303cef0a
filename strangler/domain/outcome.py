"""What a call came to: a closed union."""

from __future__ import annotations

from dataclasses import dataclass

from strangler.domain.process import Effect


@dataclass(frozen=True, slots=True)
class Completed:
    """The upstream did what it was asked to."""

    status: str | None = None  # the domain's word; None: the one of the state
    reason: str | None = None
    effect: Effect = Effect.APPLIED


@dataclass(frozen=True, slots=True)
class Rejected:
    """The upstream said no."""

    status: str | None = None
    reason: str | None = None
    effect: Effect = Effect.NONE


@dataclass(frozen=True, slots=True)
class Failed:
    """The upstream, or the way to it, failed."""

    reason: str
    effect: Effect
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Surely nothing happened: it may be sent again."""

    reason: str
    after: float | None = None  # seconds; the upstream's Retry-After


@dataclass(frozen=True, slots=True)
class Pending:
    """The upstream took it, and decides later."""

    status: str | None = None  # the domain's word for meanwhile; None: as before
    reason: str | None = None
    after: float | None = None  # seconds; the upstream's Retry-After


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Nobody knows what it did."""

    reason: str


Outcome = Completed | Rejected | Failed | Retry | Pending | InDoubt
