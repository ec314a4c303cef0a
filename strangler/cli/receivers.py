"""``strangler receivers``: who is called back, what waits for whom, pause and resume."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from strangler.cli.asking import Ops, add_json_argument, add_ops_arguments, add_why_argument, segment
from strangler.cli.showing import print_json, print_table, short_time


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "receivers", help="show who is called back and what waits for whom; pause, resume"
    )
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = verbs.add_parser("list", help="all receivers, with what is pending, held and dead")
    add_json_argument(listing)
    add_ops_arguments(listing)
    for name, about in (
        ("pause", "send it nothing more; what is for it is held, nothing is dropped"),
        ("resume", "call it again, with what was held first"),
    ):
        order = verbs.add_parser(name, help=about)
        order.add_argument("receiver", metavar="NAME", help="name of the receiver")
        order.add_argument("--url", metavar="URL", help="only this one, of those that callers name")
        add_why_argument(order)
        add_json_argument(order)
        add_ops_arguments(order)


def run(arguments: argparse.Namespace) -> int:
    """Do it. Returns 0."""
    ops = Ops(arguments)
    if arguments.action == "list":
        document = ops.get("/receivers")
        receivers = document["receivers"]
    else:
        path = f"/receivers/{segment(arguments.receiver)}/{arguments.action}"
        document = ops.post(path, {"url": arguments.url, "why": arguments.why})
        receivers = [document]
    if arguments.json:
        print_json(document)
        return 0
    print_table(
        ("receiver", "pending", "held", "dead", "oldest due", "url", "paused"),
        (
            (
                one["name"],
                one["pending"],
                one["held"],
                one["dead"],
                short_time(one.get("oldestDueAt")),
                one.get("url") or " ".join(one.get("allow", ())) or "(not in the policy)",
                "; ".join([*(_pause(pause) for pause in one["pauses"]), *_rest(one)]),
            )
            for one in receivers
        ),
    )
    if document.get("wasPaused") is False:
        print(f"{arguments.receiver} was not paused{' at this URL' if arguments.url else ''}", file=sys.stderr)
    return 0


def _rest(receiver: dict[str, Any]) -> list[str]:
    until = receiver.get("restsUntilAt")
    return [] if until is None else [f"rests until {short_time(until)}, as it asked, or for a fault of ours"]


def _pause(pause: dict[str, Any]) -> str:
    what = f"{pause['url']} " if "url" in pause else ""
    return f"{what}since {short_time(pause['since'])} by {pause['who']}: {pause['why']}"
