"""The time of the event loop, by hand: what is to be done later is noted, and done when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import pytest


class Alarm(NamedTuple):
    """Something that is to be done later."""

    seconds: float
    handle: asyncio.TimerHandle

    def ring(self) -> None:
        """Do it, if nobody has called it off."""
        if not self.handle.cancelled():
            self.handle._run()


def alarms_of(monkeypatch: pytest.MonkeyPatch) -> list[Alarm]:
    """What is to be done later from now on; none of it happens by itself."""
    alarms: list[Alarm] = []
    loop = asyncio.get_running_loop()

    def call_later(seconds: float, act: Callable[..., None], *values: object) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(loop.time() + seconds, act, values, loop)
        alarms.append(Alarm(seconds, handle))
        return handle

    monkeypatch.setattr(loop, "call_later", call_later)
    return alarms
