"""Work beside the event loop: what is large, or what nobody knows how long it takes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

PARSED_HERE = 64 * 1024
"""Bytes up to which a body is looked into on the event loop; a longer one in a thread."""

HOOK_TIMEOUT = 30.0
"""Seconds after which a function of Python that a policy names counts as failed."""

Result = TypeVar("Result")


class TookTooLong(Exception):
    """A function of Python did not come back in time."""


async def beside(work: Callable[[], Result], size: int, *, hooks: bool) -> Result:
    """What ``work`` returns; it looks into ``size`` bytes, and may call functions of Python (``hooks``).

    What is small is done here and now. What is large goes to a thread; what calls hooks to one of its own, so that one
    that never returns keeps nobody else from working.

    Raises:
        TookTooLong: a hook did not come back in time. Its thread is left behind.
    """
    if hooks:
        return await _in_own_thread(work)
    if size <= PARSED_HERE:
        return work()
    return await asyncio.to_thread(work)


async def _in_own_thread(work: Callable[[], Result]) -> Result:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def settle(set_: Callable[[Any], None], value: Any) -> None:
        if not done.done():
            set_(value)

    def run() -> None:
        try:
            result = work()
        except Exception as error:
            _tell(loop, settle, done.set_exception, error)
        else:
            _tell(loop, settle, done.set_result, result)

    threading.Thread(target=run, name="strangler-hook", daemon=True).start()
    try:
        async with asyncio.timeout(HOOK_TIMEOUT):
            return await done
    except TimeoutError:
        raise TookTooLong(f"a function of Python did not come back within {HOOK_TIMEOUT:g} s") from None


def _tell(loop: asyncio.AbstractEventLoop, *call: Any) -> None:
    try:
        loop.call_soon_threadsafe(*call)
    except RuntimeError:
        return  # the loop has ended meanwhile, and with it whoever waited
