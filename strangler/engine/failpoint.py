"""Places at which a test can have this program die as kill -9 would: nothing is flushed, nothing is closed.

``STRANGLER_FAILPOINT=NAME`` dies when NAME is reached, ``NAME:3`` when it is reached for the third time.
"""

from __future__ import annotations

import os
from functools import cache

KILLED = 137
"""The exit status of a program that was killed by SIGKILL, as a shell reports it."""


class _Failpoint:
    """The one place that is armed, and how often it may still be passed."""

    def __init__(self, setting: str) -> None:
        self.name, _, nth = setting.partition(":")
        self.left = int(nth or 1)


@cache
def _armed() -> _Failpoint:
    return _Failpoint(os.environ.get("STRANGLER_FAILPOINT", ""))


def reach(name: str) -> None:
    """Die here, if the environment says so."""
    failpoint = _armed()
    if failpoint.name != name:
        return
    failpoint.left -= 1
    if failpoint.left == 0:
        os._exit(KILLED)
