"""``strangler store hold``: a copy is put on hold before anybody serves it."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from functools import partial

from strangler.cli.asking import person
from strangler.cli.on_record import on_record, said_why
from strangler.config.system import SystemClock
from strangler.domain.errors import OperatorError
from strangler.operations.api.tokens import LOCAL, named
from strangler.policy.standing import Hold
from strangler.ports import Standing
from strangler.store.open import is_in_use, open_store
from strangler.store.sealing import KEY_BYTES, AesGcmSealer


def hold(arguments: argparse.Namespace) -> int:
    """Put every route with open processes on hold. Returns 0.

    Raises:
        OperatorError: somebody serves the store, or there is none; no reason was given.
        StoreUnavailable: the store can be neither read nor written.
    """
    why = said_why(arguments.why)
    if is_in_use(arguments.store):
        raise OperatorError(f"{arguments.store} is in use: `strangler routes hold` holds the routes of a server")
    return asyncio.run(_held(arguments.store, why))


async def _held(url: str, why: str) -> int:
    # No credential is opened or sealed, so any key will do.
    store = open_store(url, AesGcmSealer(os.urandom(KEY_BYTES)), SystemClock())
    try:
        open_of: dict[str, int] = {}
        for found in await store.census():
            open_of[found.route] = open_of.get(found.route, 0) + found.processes
        already = {order.route for order in await store.orders() if isinstance(order, Hold)}
        if anew := sorted(open_of.keys() - already):
            await on_record(
                store, "holdRoutes", "/store/hold", why, partial(_put, store, anew, why), lambda _: ", ".join(anew)
            )
    finally:
        await store.close()
    for route in sorted(open_of):
        print(f"{route}: on hold{' already' if route in already else ''}, {open_of[route]} open")
    if not open_of:
        print("no process is open: there is nothing to hold")
    return 0


async def _put(store: Standing, routes: Sequence[str], why: str) -> None:
    now, who = SystemClock().now(), named(LOCAL, person() or "")
    for route in routes:
        await store.put_order(Hold(route, now, who, why))
        # Its deadlines stand still from now on, and not only once somebody serves it.
        await store.begin_pause(route, now)
