"""Shedding bodies step by step: how much is enough, and for how long a command works before it tells how far it is."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from strangler.ports import Shed
from strangler.store.ids import id_bytes, id_text

_STEP = 500  # processes looked at in one go
_WORKS = 10.0  # seconds


class Candidate(NamedTuple):
    """A process, as far as shedding looks at it."""

    process_id: bytes
    body_bytes: int
    sheds: bool  # its bodies may go


Find = Callable[[bytes, int], Awaitable[Sequence[Candidate]]]
Forget = Callable[[Sequence[bytes]], Awaitable[None]]


async def shed_with(find: Find, forget: Forget, after: str | None, enough: int) -> Shed:
    """See `Shedding`: find candidates, and have those forgotten that are needed to reach ``enough``."""
    began = time.monotonic()
    place = bytes(id_bytes(after)) if after is not None else b""
    processes = freed = 0
    while freed < enough and time.monotonic() - began < _WORKS:
        found = await find(place, _STEP)
        chosen = []
        for candidate in found:
            if freed >= enough:
                break
            place = candidate.process_id
            if candidate.sheds:
                chosen.append(place)
                freed += candidate.body_bytes
        if chosen:
            await forget(chosen)
            processes += len(chosen)
        if len(found) < _STEP and (not found or place == found[-1].process_id):
            return Shed(processes, freed, None)
    return Shed(processes, freed, id_text(place) if place else None)
