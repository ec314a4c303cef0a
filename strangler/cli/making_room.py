"""``strangler store shed``: through the server over the store, if one runs; else by opening the store."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from strangler.cli.asking import Ops
from strangler.cli.on_record import on_record, said_why
from strangler.cli.showing import print_json
from strangler.config.scalars import size
from strangler.config.system import SystemClock
from strangler.domain.errors import OperatorError
from strangler.operations.api.shedding import NAME, PATH, note_of
from strangler.ports import Shed
from strangler.store.open import is_in_use, open_store
from strangler.store.sealing import AesGcmSealer

Step = Callable[[str | None, int], Shed]
"""Does a part of it: behind a process, so many bytes."""


def shed(arguments: argparse.Namespace) -> int:
    """Make room, step by step. Returns 0, or 1 where there was less to forget than was wanted."""
    try:
        wanted = size(arguments.free)
    except ValueError as error:
        raise OperatorError(f"--free: {error}") from None
    if arguments.why is not None or not arguments.dry_run:
        said_why(arguments.why)
    by_server = arguments.ops is not None or is_in_use(arguments.store)
    done = _all(_through_server(arguments) if by_server else _directly(arguments), wanted)
    if arguments.json:
        print_json({"processes": done.processes, "bodyBytes": done.body_bytes, "dryRun": arguments.dry_run})
    else:
        gone = "would lose" if arguments.dry_run else "lost"
        print(f"{done.processes} processes {gone} their bodies, {done.body_bytes} bytes in all")
        if done.body_bytes < wanted:
            print("there is no more to forget: shorten `retain`, or give the store a larger disk", file=sys.stderr)
    return 0 if done.body_bytes >= wanted else 1


def _all(step: Step, wanted: int) -> Shed:
    processes = freed = 0
    after: str | None = None
    while freed < wanted:
        done = step(after, wanted - freed)
        processes, freed, after = processes + done.processes, freed + done.body_bytes, done.after
        if after is None:
            break
        if sys.stderr.isatty():
            print(f"\r{processes} processes, {freed} bytes …", end="\x1b[K\r", file=sys.stderr, flush=True)
    return Shed(processes, freed, after)


def _through_server(arguments: argparse.Namespace) -> Step:
    ops = Ops(arguments)

    def step(after: str | None, enough: int) -> Shed:
        asked: dict[str, Any] = {"free": enough, "after": after}
        if arguments.dry_run:
            told = ops.get("/store/sheddable", asked)
        else:
            told = ops.post("/store/shed", {**asked, "why": arguments.why})
        return Shed(told["processes"], told["bodyBytes"], told.get("after"))

    return step


def _directly(arguments: argparse.Namespace) -> Step:
    async def opened(after: str | None, enough: int) -> Shed:
        # No credential is opened or sealed, so any key will do.
        store = open_store(arguments.store, AesGcmSealer(os.urandom(32)), SystemClock())
        try:
            if arguments.dry_run:
                return await store.sheddable(after, enough)
            act = partial(store.shed, after, enough)
            return await on_record(store, NAME, PATH, said_why(arguments.why), act, note_of)
        finally:
            await store.close()

    return lambda after, enough: asyncio.run(opened(after, enough))
