"""``strangler store shed``: through the server over the store, if one runs; else by opening the store."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any

from strangler.cli.asking import Ops, person
from strangler.cli.showing import print_json
from strangler.config.scalars import is_text, size
from strangler.config.system import SystemClock
from strangler.domain.errors import OperatorError, StoreUnavailable
from strangler.operations.api.schemas import is_line
from strangler.operations.api.shedding import NAME, PATH, note_of
from strangler.operations.api.tokens import LOCAL, named
from strangler.ports import Command, Shed
from strangler.store import Store
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
    if arguments.why is None and not arguments.dry_run:
        raise OperatorError("--why: say why it is done; it stands in the audit log")
    if arguments.why is not None and not (is_text(arguments.why) and is_line(arguments.why)):
        raise OperatorError("--why: expected text on one line, of at most 1000 characters")
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
            return await _on_record(store, arguments.why, after, enough)
        finally:
            await store.close()

    return lambda after, enough: asyncio.run(opened(after, enough))


async def _on_record(store: Store, why: str, after: str | None, enough: int) -> Shed:
    """Shed as a server does: on record before it begins, and what it came to."""
    clock, outcome, detail = SystemClock(), "internal-error", None
    who = named(LOCAL, person() or "")
    number = await store.begin_command(Command(clock.now(), who, NAME, PATH, why, None))
    try:
        done = await store.shed(after, enough)
        outcome, detail = "done", note_of(done)
        return done
    except StoreUnavailable as error:
        outcome, detail = "store-unavailable", str(error)
        raise
    finally:
        await store.end_command(number, clock.now(), outcome, detail)
