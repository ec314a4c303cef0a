"""Places where a test may have the process die, as if by the power: ``STRANGLER_FAILPOINT=name`` or ``name:nth``."""

from __future__ import annotations

import itertools
import os
from functools import cache

EXIT_CODE = 137  # what a shell says of a process that was killed


def reach(name: str) -> None:
    """Say that a place is reached; it is the end, if the environment says so. Otherwise it costs a look-up."""
    trap = _trap()
    if trap is not None:
        trap.spring(name)


class _Trap:
    """Dies at the ``nth`` time that ``name`` is reached."""

    def __init__(self, text: str) -> None:
        self._name, _, nth = text.partition(":")
        self._nth = int(nth or 1)
        self._count = itertools.count(1)

    def spring(self, name: str) -> None:
        if name == self._name and next(self._count) == self._nth:
            os._exit(EXIT_CODE)


@cache
def _trap() -> _Trap | None:
    text = os.environ.get("STRANGLER_FAILPOINT")
    return _Trap(text) if text else None
