"""``strangler deliveries``: who was told what, every attempt at it, and once more."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from strangler.cli.asking import (
    Ops,
    add_json_argument,
    add_limit_argument,
    add_ops_arguments,
    add_why_argument,
    segment,
)
from strangler.cli.hints import unmet
from strangler.cli.moments import moments
from strangler.cli.showing import print_fields, print_hints, print_json, print_table, safe, short_time
from strangler.domain.errors import OperatorError

_WISHES = (
    ("--receiver", "receiver", "NAME", "the name of a receiver in the policy"),
    ("--process", "process", "ID", "those about one process"),
    ("--url", "url", "URL", "the URL that a caller named"),
    ("--since", "createdAfter", "WHEN", "made then or later: 2026-11-21, 2026-11-21T10:00:00Z, or 2h, 3d ago"),
    ("--until", "createdBefore", "WHEN", "made earlier, likewise"),
)


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "deliveries", help="show who was told what and with what answer; send it again"
    )
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = verbs.add_parser(
        "list",
        help="deliveries, those of the newest processes first",
        epilog="We never got it? Ask by --process. What did they miss today? --receiver NAME --since 1d "
        "--state dead,held,pending.",
    )
    _add_wishes(listing)
    listing.add_argument("--state", metavar="STATE,…", help="pending held delivered dead")
    add_limit_argument(listing, 200)
    listing.add_argument("--cursor", help="go on where the page before ended")
    _finish(listing, _list)
    show = verbs.add_parser("show", help="one delivery, and every attempt at it")
    show.add_argument("id", metavar="ID", help="its id: the receiver knows it as webhook-id")
    _finish(show, _show)
    again = verbs.add_parser(
        "redrive",
        help="send one again, or all that a filter finds",
        description="Sends deliveries again under their old names. A filter finds dead letters, or what --state says.",
    )
    again.add_argument("id", metavar="ID", nargs="?", help="of one delivery")
    _add_wishes(again)
    again.add_argument("--state", metavar="STATE,…", help="dead (the default), delivered, pending")
    add_why_argument(again)
    _finish(again, _redrive)


def _add_wishes(parser: argparse.ArgumentParser) -> None:
    for flag, name, what, about in _WISHES:
        parser.add_argument(flag, dest=name, metavar=what, help=about)


def _finish(parser: argparse.ArgumentParser, act: Callable[[argparse.Namespace, Ops], int]) -> None:
    add_json_argument(parser)
    add_ops_arguments(parser)
    parser.set_defaults(act=act)


def run(arguments: argparse.Namespace) -> int:
    """Do it. Returns the exit code."""
    act: Callable[[argparse.Namespace, Ops], int] = arguments.act
    return act(arguments, Ops(arguments))


def _wishes(arguments: argparse.Namespace) -> dict[str, Any]:
    wishes = {name: getattr(arguments, name) for _, name, _, _ in _WISHES}
    wishes |= moments(wishes)
    return wishes


def _list(arguments: argparse.Namespace, ops: Ops) -> int:
    query = {**_wishes(arguments), **{name: getattr(arguments, name) for name in ("state", "limit", "cursor")}}
    document = ops.get("/deliveries", query)
    if arguments.json:
        print_json(document)
        return 0
    print_table(
        ("id", "made", "receiver", "told", "state", "tries", "next", "reason"),
        (
            (
                one["id"],
                short_time(one["createdAt"]),
                one["receiver"],
                one["told"],
                one["state"],
                one["tries"],
                short_time(one.get("dueAt")),
                one.get("reason"),
            )
            for one in document["deliveries"]
        ),
    )
    if "cursor" in document:
        print(f"\nThere may be more: --cursor {document['cursor']}")
    if not document["deliveries"]:
        print_hints(unmet(ops, query))
    return 0


def _show(arguments: argparse.Namespace, ops: Ops) -> int:
    document = ops.get(f"/deliveries/{segment(arguments.id)}")
    if arguments.json:
        print_json(document)
        return 0
    print_fields(
        (
            ("delivery", document["id"]),
            ("process", document["process"]),
            ("told", document["told"]),
            ("to", document.get("url", document["receiver"])),
            ("receiver", document["receiver"]),
            ("state", document["state"]),
            ("reason", document.get("reason")),
            ("made", short_time(document["createdAt"])),
            ("next", short_time(document["dueAt"]) if "dueAt" in document else None),
            ("ended", short_time(document["endedAt"]) if "endedAt" in document else None),
        )
    )
    if not document["log"]:
        print("\nits attempts are no longer kept" if "endedAt" in document else "\nno attempt was made")
    else:
        print("\nattempts")
        print_table(
            ("#", "when", "to", "outcome", "status", "ms", "answer"),
            (
                (
                    one["number"],
                    short_time(one["at"]),
                    one.get("address"),
                    one["outcome"],
                    one.get("status"),
                    one["milliseconds"],
                    _answer(one),
                )
                for one in document["log"]
            ),
        )
    return 0


def _answer(one: Mapping[str, Any]) -> str:
    """What came back, on one line."""
    return safe(one.get("error") or one.get("text") or ("(no text)" if "base64" in one else ""))


def _redrive(arguments: argparse.Namespace, ops: Ops) -> int:
    given = {name: value for name, value in _wishes(arguments).items() if value is not None}
    if (arguments.id is None) == (not given and arguments.state is None):
        raise OperatorError(
            "expected either the id of one delivery, or a filter: --receiver, --process, --url, --since"
        )
    if arguments.id is not None:
        document = ops.post(f"/deliveries/{segment(arguments.id)}/redrive", {"why": arguments.why})
        text = f"{document['id']}: {document['state']}"
    else:
        states = arguments.state.split(",") if arguments.state is not None else None
        document = ops.post("/deliveries/redrive", {**given, "state": states, "why": arguments.why})
        text = f"{document['redriven']} put back"
    if arguments.json:
        print_json(document)
    else:
        print(text)
    return 0
