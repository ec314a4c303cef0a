"""Comparing what a store holds with what has to hold of it, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from strangler.domain.exceptions import ExceptionKind


class Finding(NamedTuple):
    """One thing that is wrong."""

    process_id: str | None  # None: it is about the whole store
    wrong: str
    advice: str
    code: str = ""  # for machines: "history", "row", …
    seen: str = ""  # a digest of what was seen: what is found again unchanged has the same

    @property
    def kind(self) -> ExceptionKind:
        """Which exception it is."""
        return "orphan" if self.code == "orphan" else "integrity"

    def __str__(self) -> str:
        return f"{self.process_id or 'store'}: {self.wrong}\n    {self.advice}"


class Examined(NamedTuple):
    """What came of one step."""

    processes: int  # that were looked at
    findings: Sequence[Finding]
    mark: str | None  # where to go on; None: all was examined


class Examiner(Protocol):
    """Looks through a store that may be in use. Every method may raise `StoreUnavailable`."""

    async def total(self) -> int:
        """How many processes there are, about."""
        ...

    async def examine(self, mark: str | None, *, bodies: bool) -> Examined:
        """The next step (None: the first one); with ``bodies``, every body is read and compared with its digest."""
        ...

    async def examine_one(self, process_id: str) -> Sequence[Finding]:
        """What is wrong with one process right now, its bodies included, or what there is of one that does not
        exist."""
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...
