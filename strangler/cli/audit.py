"""``strangler audit``: who commanded what, why, and what it came to."""

from __future__ import annotations

import argparse
from typing import Any

from strangler.cli.asking import Ops, add_json_argument, add_limit_argument, add_ops_arguments
from strangler.cli.showing import print_json, print_table, short_time


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "audit",
        help="list who commanded what, and why",
        description="Lists the commands of operators, the latest first: who, what, on what, why, and what it came to.",
    )
    parser.add_argument("--who", metavar="NAME", help="only those of one name")
    parser.add_argument("--what", metavar="COMMAND", help="only one command, as in cancelProcess")
    parser.add_argument("--process", metavar="ID", help="only those about one process")
    add_limit_argument(parser, 200)
    parser.add_argument("--cursor", help="go on where the page before ended")
    add_json_argument(parser)
    add_ops_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """List them. Returns 0."""
    query = {name: getattr(arguments, name) for name in ("who", "what", "process", "limit", "cursor")}
    document = Ops(arguments).get("/audit", query)
    if arguments.json:
        print_json(document)
        return 0
    print_table(
        ("when", "who", "what", "outcome", "on", "why"),
        (
            (
                short_time(one["at"]),
                one["who"],
                one["what"],
                one.get("outcome", "(never ended)"),
                one.get("process", one["subject"]),
                one.get("why"),
            )
            for one in document["commands"]
        ),
    )
    if "cursor" in document:
        print(f"\nThere may be more: --cursor {document['cursor']}")
    return 0
