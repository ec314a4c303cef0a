"""``strangler store``: what fills a store, making room in it, a copy of it, a hold before it is served, another key."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from strangler.cli.asking import add_json_argument, add_ops_arguments, add_why_argument
from strangler.cli.holding import hold
from strangler.cli.making_room import shed
from strangler.cli.rekeying import add_rekey_arguments, rekey
from strangler.cli.showing import print_fields, print_json, print_table
from strangler.config.system import SystemClock
from strangler.domain.errors import AskFailed, OperatorError, StoreUnavailable
from strangler.store.open import back_up, store_path, usage_of
from strangler.store.sealing import key_path

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "store",
        help="what fills a store, making room in it, a copy of it while it is in use, a hold before it is served, "
        "another identity key",
    )
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    usage = verbs.add_parser(
        "usage",
        help="what fills it: by table, route and age",
        description="Reads a store, which a server may be using, and says what fills it. Content is counted; indexes "
        "and page ends come on top.",
    )
    add_json_argument(usage)
    _add_store(usage)
    usage.set_defaults(act=_usage)
    shedding = verbs.add_parser(
        "shed",
        help="make room: forget bodies of processes that have ended, the oldest first",
        description="Forgets requests and replies of processes that have ended, the oldest first, until so much has "
        "gone. The processes stay, with their state and history; their result is 410 from then on. Goes through the "
        "server over the store, if one runs, else it opens the store itself.",
    )
    shedding.add_argument("--free", required=True, metavar="SIZE", help="how much is wanted: 500MiB, 10GiB")
    shedding.add_argument("--dry-run", action="store_true", help="only say what would go")
    shedding.add_argument("--why", metavar="TEXT", help="why it is done; it stands in the audit log")
    add_json_argument(shedding)
    add_ops_arguments(shedding)
    shedding.set_defaults(act=shed)
    backup = verbs.add_parser(
        "backup",
        help="copy it into a file while it is in use",
        description="Copies a store, which a server may be using, as it is at one moment, and its identity key where "
        "that lies beside it. Nothing waits for it; the write-ahead log grows meanwhile. Replaces no file.",
    )
    backup.add_argument("file", type=Path, metavar="FILE", help="the copy: a store of its own")
    _add_store(backup)
    backup.set_defaults(act=_backup)
    holding = verbs.add_parser(
        "hold",
        help="put a copy on hold before it is served: nothing that is open in it is sent",
        description="Puts every route that has open processes in a store on hold, while nobody serves it: no call of "
        "theirs is made once it is served, until `strangler routes release`. For a copy that is restored.",
    )
    add_why_argument(holding)
    _add_store(holding)
    holding.set_defaults(act=hold)
    rekeying = verbs.add_parser(
        "rekey",
        help="go on under another identity key, where the old one is lost for good",
        description="Says what is lost with the identity key of a store, and has it known by another one from now on: "
        "what --identity-key gives, else the one beside it, which is made where it is missing. While nobody serves it.",
    )
    add_rekey_arguments(rekeying)
    rekeying.set_defaults(act=rekey)


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        default=os.environ.get("STRANGLER_STORE", "sqlite:///strangler.db"),
        metavar="URL",
        help="as in `serve` (or STRANGLER_STORE; default: sqlite:///strangler.db)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Do it. Returns the exit code.

    Raises:
        OperatorError: there is no such store, or it cannot be done.
        AskFailed: the store cannot be read, or the server refused.
    """
    try:
        code: int = arguments.act(arguments)
    except StoreUnavailable as error:
        raise AskFailed(f"the store cannot be read: {error}") from error
    return code


def _usage(arguments: argparse.Namespace) -> int:
    document: dict[str, Any] = {}
    shows = sys.stderr.isatty()
    for usage in usage_of(arguments.store, SystemClock().now()):
        document = usage.document()
        if shows:
            counted = sum(route["processes"] for route in document["routes"])
            print(f"\r{counted} processes …", end="", file=sys.stderr, flush=True)
    if shows:
        print("\r", end="\x1b[K", file=sys.stderr)
    if arguments.json:
        print_json(document)
        return 0
    file = document["file"]
    print_fields(
        (
            ("file", file["path"]),
            ("size", people(file["bytes"])),
            ("of it empty", people(file["emptyBytes"])),
            ("write-ahead log", people(file["logBytes"])),
            ("could be shed", f"{people(document['sheddableBytes'])} (bodies of processes that have ended)"),
        )
    )
    for what, key in (("table", "table"), ("route", "route"), ("age", "upTo")):
        rows = document[f"{what}s"]
        print()
        if what == "table":
            print_table(("table", "rows", "content"), [(row[key], row["rows"], people(row["bytes"])) for row in rows])
        else:
            print_table(
                (what if what == "route" else "up to", "processes", "ended", "content", "bodies", "could be shed"),
                [(row[key], row["processes"], row["ended"], *_sizes(row)) for row in rows],
            )
    return 0


def _sizes(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(people(row[name]) for name in ("bytes", "bodyBytes", "sheddableBytes"))


def _backup(arguments: argparse.Namespace) -> int:
    target: Path = arguments.file.absolute()
    size = back_up(arguments.store, target)
    print(f"{target}: {people(size)}")
    source = store_path(arguments.store)
    assert source is not None, "in memory there is nothing to copy"
    key = key_path(source)
    if not key.exists():
        print(f"there is no {key}: keep the key of --identity-key with the copy, without it nobody is known again")
        return 0
    copied = key_path(target)
    try:
        descriptor = os.open(copied, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as into, open(key, "rb") as source_file:
            shutil.copyfileobj(source_file, into)
            into.flush()
            os.fsync(into.fileno())
    except OSError as error:
        raise OperatorError(f"{copied}: {error.strerror}") from error
    print(f"{copied}: the identity key; who has both can read the credentials that are stored")
    return 0


def people(size: int) -> str:
    """A size as people read it."""
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{size} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"
