"""Acting on a commit even if whoever waited for it is gone: what is on disk must also be known here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def uninterrupted(commit: Awaitable[T], then: Callable[[T], R]) -> R:
    """``then`` of what the commit came to. A caller that is cancelled meanwhile leaves at once; ``then`` runs anyway.

    Raises:
        StoreUnavailable: what the commit raised; ``then`` does not run.
    """
    future = asyncio.ensure_future(commit)
    if future.done():
        return then(future.result())
    followed: asyncio.Future[R] = asyncio.get_running_loop().create_future()

    def follow(done: asyncio.Future[T]) -> None:
        if followed.cancelled():
            # A commit cannot be taken back, and so neither can what follows from it.
            if not done.cancelled() and done.exception() is None:
                then(done.result())
        elif done.cancelled():
            followed.cancel()
        else:
            try:
                followed.set_result(then(done.result()))
            except Exception as error:
                followed.set_exception(error)

    # Not `asyncio.shield`, which does as much and then leaves what follows to a second turn of the loop.
    future.add_done_callback(follow)
    return await followed
