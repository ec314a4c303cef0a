"""``strangler processes``: find processes, look at one, withdraw it or try it again, take lists away."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from strangler.cli.asking import (
    Ops,
    add_json_argument,
    add_limit_argument,
    add_ops_arguments,
    add_why_argument,
    process_id,
    segment,
)
from strangler.cli.hints import unmet
from strangler.cli.moments import moments
from strangler.cli.one_process import print_process
from strangler.cli.resolving import add_parsers
from strangler.cli.showing import print_hints, print_json, print_table, short_time
from strangler.domain.errors import OperatorError

_WISHES = (
    ("--since", "createdAfter", "WHEN", "accepted then or later: 2026-11-21, 2026-11-21T10:00:00Z, or 2h, 3d ago"),
    ("--until", "createdBefore", "WHEN", "accepted earlier, likewise"),
    ("--state", "state", "STATE,…", "received processing unconfirmed completed rejected failed expired cancelled; "
     "waiting following in_doubt; open final"),
    ("--status", "status", "WORD", "the domain's word, as its client sees it"),
    ("--route", "route", "NAME", "the route"),
    ("--caller", "caller", "NAME", "the name of its caller (`access.name`)"),
    ("--reference", "reference", "[NAME=]TEXT", "a business reference (`process.references`)"),
    ("--correlation-id", "correlationId", "ID", "the correlation id"),
    ("--key", "idempotencyKey", "KEY", "the idempotency key as the client gave it"),
    ("--text", "text", "TEXT", "is in the reason; needs --since"),
)  # fmt: skip


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "processes", help="find processes, look at one, withdraw it or try it again, export lists"
    )
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_list(verbs)
    _add_show(verbs)
    _add_cancel(verbs)
    _add_retry(verbs)
    add_parsers(verbs)
    _add_export(verbs)


def run(arguments: argparse.Namespace) -> int:
    """Do it. Returns the exit code."""
    act: Callable[[argparse.Namespace, Ops], int] = arguments.act
    return act(arguments, Ops(arguments))


def _add_list(verbs: Any) -> None:
    parser = verbs.add_parser(
        "list",
        help="processes by what is known of them, newest first",
        description="Lists processes, newest first. Each wish narrows it down.",
        epilog="Did you receive it? Ask by --correlation-id, --key or --reference. What went wrong today? "
        "--since 1d --state failed,unconfirmed.",
    )
    _add_wishes(parser)
    add_limit_argument(parser, None)
    parser.add_argument("--cursor", metavar="ID", help="go on where an earlier list ended")
    add_json_argument(parser)
    add_ops_arguments(parser)
    parser.set_defaults(act=_list)


def _add_show(verbs: Any) -> None:
    parser = verbs.add_parser("show", help="one process whole: history, tries, evidence, request and reply")
    parser.add_argument("id", metavar="ID", help="its id, or its URL")
    add_json_argument(parser)
    add_ops_arguments(parser)
    parser.set_defaults(act=_show)


def _add_cancel(verbs: Any) -> None:
    parser = verbs.add_parser("cancel", help="withdraw a process that was not sent")
    parser.add_argument("id", metavar="ID", help="its id, or its URL")
    add_why_argument(parser)
    add_json_argument(parser)
    add_ops_arguments(parser)
    parser.set_defaults(act=_cancel)


def _add_retry(verbs: Any) -> None:
    parser = verbs.add_parser(
        "retry",
        help="accept the request of a process that ended once more, as a new process",
        description="Accepts the recorded request of a process that ended once more, as a new process that names it as "
        "its parent. Refused where the legacy system did it, or may have done it, or would be called without the "
        "client's credentials, which go when a process ends: --force says that you know better.",
    )
    parser.add_argument("id", metavar="ID", help="its id, or its URL")
    parser.add_argument("--force", action="store_true", help="although it may have been done, or lacks credentials")
    add_why_argument(parser)
    add_json_argument(parser)
    add_ops_arguments(parser)
    parser.set_defaults(act=_retry)


def _add_export(verbs: Any) -> None:
    parser = verbs.add_parser("export", help="all that a search finds, as CSV or JSON lines, to the standard output")
    _add_wishes(parser)
    parser.add_argument("--format", choices=("csv", "jsonl"), default="csv", help="default: csv")
    add_ops_arguments(parser)
    parser.set_defaults(act=_export)


def _add_wishes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which processes")
    for flag, name, metavar, meaning in _WISHES:
        group.add_argument(flag, dest=name, metavar=metavar, help=meaning)


def _wishes(arguments: argparse.Namespace) -> dict[str, Any]:
    query = {name: getattr(arguments, name) for _, name, _, _ in _WISHES}
    query |= moments(query)
    if query["text"] is not None and query["createdAfter"] is None:
        raise OperatorError("--text: within which time? Give --since as well, as in --since 1d")
    return query


def _list(arguments: argparse.Namespace, ops: Ops) -> int:
    """Pages until there are as many as were asked for, or all was looked at."""
    query, cursor = _wishes(arguments), arguments.cursor
    found: list[dict[str, Any]] = []
    looked = 0
    while True:
        left = arguments.limit - len(found) if arguments.limit else 200
        page = ops.get("/processes", {**query, "limit": max(1, min(200, left)), "cursor": cursor})
        found += page["processes"]
        looked += page["looked"]
        cursor = page.get("cursor")
        _progress(f"{looked} looked at, {len(found)} found")
        if cursor is None or (arguments.limit and len(found) >= arguments.limit):
            break
    _progress("")
    if arguments.json:
        print_json({"processes": found, "looked": looked, **({"cursor": cursor} if cursor is not None else {})})
        return 0
    print_table(
        ("id", "accepted", "route", "state", "status", "caller", "reason"),
        (
            (
                one["id"],
                short_time(one["createdAt"]),
                one["route"],
                one["state"],
                one["status"],
                one.get("callerName"),
                one.get("reason"),
            )
            for one in found
        ),
    )
    if cursor is not None:
        print(f"\nThere may be more: --cursor {cursor}")
    if not found:
        print_hints(unmet(ops, query))
    return 0


def _show(arguments: argparse.Namespace, ops: Ops) -> int:
    document = ops.get(f"/processes/{segment(process_id(arguments.id))}")
    if arguments.json:
        print_json(document)
    else:
        print_process(document)
    return 0


def _cancel(arguments: argparse.Namespace, ops: Ops) -> int:
    document = ops.post(f"/processes/{segment(process_id(arguments.id))}/cancel", {"why": arguments.why})
    if arguments.json:
        print_json(document)
        return 0
    print(f"{document['id']} is {document['state']}")
    # It ended otherwise before anybody could withdraw it: what was asked for was not done.
    return 0 if document["state"] == "cancelled" else 1


def _retry(arguments: argparse.Namespace, ops: Ops) -> int:
    body = {"why": arguments.why, "force": True if arguments.force else None}
    document = ops.post(f"/processes/{segment(process_id(arguments.id))}/retry", body)
    if arguments.json:
        print_json(document)
    else:
        print(f"{document['id']} is {document['state']}; its parent is {document['parentId']}")
    return 0


def _export(arguments: argparse.Namespace, ops: Ops) -> int:
    for piece in ops.pieces("/export/processes", {**_wishes(arguments), "format": arguments.format}):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    return 0


def _progress(text: str) -> None:
    """On a terminal, one line that is written over."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
