"""Acting on a commit even if whoever waited for it is gone: what is on disk must also be known here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def uninterrupted(
    commit: Awaitable[T], then: Callable[[T], R], failed: Callable[[], None] = lambda: None, *, stays: bool = False
) -> R:
    """``then`` of what the commit came to. A caller that is cancelled meanwhile leaves at once; ``then`` runs anyway.

    Args:
        stays: a caller that is cancelled leaves when the commit is over, and ``then`` has run.

    Raises:
        StoreUnavailable: what the commit raised; ``failed`` runs instead, here too whether or not the caller waits.
    """
    future = asyncio.ensure_future(commit)
    if not future.done():
        # As `asyncio.shield`, which does more: it would copy what the commit came to.
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda _: over.set_result(None) if not over.done() else None)
        try:
            await over
        except asyncio.CancelledError:
            # The commit goes on, or is just done: it cannot be taken back, and so neither can what follows from it.
            future.add_done_callback(lambda done: then(done.result()) if done.exception() is None else failed())
            if stays:
                await asyncio.wait([future])
            raise
    try:
        came_to = future.result()
    except BaseException:
        failed()
        raise
    return then(came_to)
