"""Waiting for a condition instead of sleeping for a while."""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")

PAUSE = 0.02  # seconds between two looks at a condition that lives in another OS process


async def eventually(look: Callable[[], T | Awaitable[T]], within: float = 15.0, what: str = "") -> T:
    """What ``look`` gives as soon as that is true; looked at again and again.

    Raises:
        AssertionError: it was not true for ``within`` seconds.
    """
    deadline = time.monotonic() + within
    while True:
        seen = look()
        if inspect.isawaitable(seen):
            seen = await seen
        if seen:
            return seen  # type: ignore[return-value]
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within:g} s: {what or look}; last seen: {seen!r}")
        await asyncio.sleep(PAUSE)


def _candidates(environ: Mapping[str, str]) -> Iterator[int]:
    """All ports that may be taken here, in any order; of several workers of pytest-xdist each has its own."""
    number = int(environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = range(15_000 + number, 32_000, int(environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    return iter(random.sample(ports, len(ports)))


_CANDIDATES = _candidates(os.environ)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on, each only once.

    Below the range from which the kernel takes ports for outgoing connections, so that none of these is in the way by
    the time that the port is listened on.
    """
    for port in _CANDIDATES:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free on 127.0.0.1")


async def for_a_while(seconds: float) -> None:
    """Let time pass, where the moment or the duration itself is what the scenario is about."""
    await asyncio.sleep(seconds)
