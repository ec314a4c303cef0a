"""What may become of a process, each step a plain value: `transitions` holds the table of which may follow which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from strangler.domain.process import Effect, Process, State


@dataclass(frozen=True, slots=True)
class Accept:
    """A request was recorded. The draft holds the accepted fields only."""

    draft: Process
    business_references: str | None = None  # JSON: {name: text}


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker takes it and is about to send: on disk before the first byte leaves."""

    owner: str


@dataclass(frozen=True, slots=True)
class Postpone:
    """The attempt surely did nothing; the next one is due later."""

    due_at: int
    note: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """Bytes may have left and no whole reply came."""

    reason: str
    settling: bool  # a repeat or a probe is going to settle it, no person is needed
    due_at: int | None = None  # when the upstream is asked what it did; None: it is not


@dataclass(frozen=True, slots=True)
class Probed:
    """The upstream was asked what an attempt did, and did not tell: it is asked again."""

    due_at: int
    note: str


@dataclass(frozen=True, slots=True)
class Resume:
    """An attempt in doubt is repeated: the upstream takes repeats, or said that it did nothing."""

    due_at: int
    absent: bool = False  # the upstream said so: the attempt counts no more, and it is not repeated so again


@dataclass(frozen=True, slots=True)
class Follow:
    """The upstream took it and decides later, or has not decided yet: it is asked again."""

    due_at: int
    target: str  # where it is asked, as a request target
    until_at: int  # until when
    note: str
    status: str | None = None  # the domain's word for meanwhile; None: as before
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Somebody who knows says how far it is. The state stays."""

    status: str  # the domain's word
    reason: str | None = None


class Result(NamedTuple):
    """What a process row says of the recorded reply."""

    status: int
    type: str | None
    length: int | None  # bytes of its body; None: it was not all there, and its head did not say
    kept: bool  # False: the reply was larger than `call.max_reply`


@dataclass(frozen=True, slots=True)
class Finish:
    """It came to an end: completed, rejected or failed."""

    state: State
    effect: Effect
    status: str | None = None
    reason: str | None = None
    result: Result | None = None  # None: no whole reply came
    business_references: str | None = None  # JSON: {name: text}; None: as before
    note: str | None = None  # what decided, where that is not kept with an attempt


@dataclass(frozen=True, slots=True)
class Promised:
    """Who began it waits for its reply; now a repeat is told 202, and relies on it being done. The state stays."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """The client (or an operator) withdrew it before it was sent."""

    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Expire:
    """Its deadline passed before it could be sent."""


Step = Claim | Postpone | Follow | Doubt | Probed | Resume | Finish | Report | Promised | Cancel | Expire
"""What becomes of a process that is there."""

Transition = Accept | Step
