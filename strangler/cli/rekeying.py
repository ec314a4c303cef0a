"""``strangler store rekey``: a store whose identity key is lost for good goes on under another one."""

from __future__ import annotations

import argparse
import asyncio
import os
from functools import partial
from pathlib import Path

from strangler.cli.on_record import on_record, said_why
from strangler.config.settings import Settings, add_arguments, read_settings
from strangler.config.system import SystemClock
from strangler.domain.errors import OperatorError
from strangler.store.known_key import adopt, is_known
from strangler.store.open import is_in_use, open_store, store_path
from strangler.store.sealing import KEY_BYTES, AesGcmSealer, key_path, load_identity_key

_LOST = """\
{store} under another identity key:
- No caller finds the processes that it has by now: they are 404 to whoever began them. Operators find them.
- What is repeated with a known idempotency key counts as new, and may be done a second time.
- Stored credentials do not open. Open processes: {open}. Those that would be called with their client's credentials
  are not called: what was never sent fails (credentials-lost, effect none), and is an exception where it was promised;
  what may have been sent is left to a person."""


def add_rekey_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its flags."""
    parser.add_argument("--confirm", action="store_true", help="do it; else it only says what is lost")
    parser.add_argument("--why", metavar="TEXT", help="why it is done; it stands in the audit log")
    add_arguments(parser, only=("store", "identity-key"))


def rekey(arguments: argparse.Namespace) -> int:
    """Say what is lost; with ``--confirm``, have the store know the new key. Returns 0, or 1 where nothing was changed.

    Raises:
        OperatorError: somebody serves the store, or there is none; the key is too short, or its file cannot be used.
        StoreUnavailable: the store can be neither read nor written.
    """
    settings = read_settings(arguments, os.environ)
    why = said_why(arguments.why) if arguments.confirm else None
    if is_in_use(settings.store):
        raise OperatorError(f"{settings.store} is in use: it is given another key while nobody serves it")
    path = store_path(settings.store)
    assert path is not None, "in memory there is nothing to give another key to"
    return asyncio.run(_rekeyed(settings, path, why))


async def _rekeyed(settings: Settings, path: Path, why: str | None) -> int:
    beside = key_path(path)
    given = "--identity-key" if settings.identity_key is not None else str(beside)
    # No credential is opened or sealed, so any key will do.
    store = open_store(settings.store, AesGcmSealer(os.urandom(KEY_BYTES)), SystemClock())
    try:
        there = settings.identity_key is not None or beside.exists()
        known = await is_known(store, load_identity_key(settings.identity_key, path)) if there else False
        if known:
            print(f"{path} is written under the key of {given}: there is nothing to do")
            return 0
        if known is None:
            print(f"{path} knows no key yet: under the one of {given} nothing is lost, if it was written under that")
        print(_LOST.format(store=path, open=sum(found.processes for found in await store.census())))
        if why is None:
            print("Nothing has changed. --confirm and --why TEXT do it")
            return 1
        key = load_identity_key(settings.identity_key, path, anew=True)
        await on_record(
            store, "rekeyStore", "/store/rekey", why, partial(adopt, store, key), lambda _: f"key of {given}"
        )
    finally:
        await store.close()
    print(f"From now on it is served under the key of {given}; keep a copy of that")
    return 0
