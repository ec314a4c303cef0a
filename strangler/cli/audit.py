"""``strangler audit``: who commanded what, why, and what it came to."""

from __future__ import annotations

import argparse
import json
from typing import Any

from strangler.cli.asking import Ops, add_json_argument, add_limit_argument, add_ops_arguments
from strangler.cli.showing import print_json, print_table, short_time


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "audit",
        help="list who commanded what, and why",
        description="Lists the commands of operators, the latest first: who, what, on what, given what, why, and what "
        "it came to.",
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
        ("when", "who", "what", "outcome", "on", "given", "why"),
        (
            (
                short_time(one["at"]),
                one["who"],
                one["what"],
                one.get("outcome", "(never ended)"),
                _on(one),
                _given(one),
                one.get("why"),
            )
            for one in document["commands"]
        ),
    )
    if "cursor" in document:
        print(f"\nThere may be more: --cursor {document['cursor']}")
    return 0


def _on(command: dict[str, Any]) -> str:
    """The id of a process where the command names it, else the whole path: of an exception, of a delivery."""
    process: str | None = command.get("process")
    subject: str = command["subject"]
    return process if process is not None and subject.startswith(f"/processes/{process}/") else subject


def _given(command: dict[str, Any]) -> str:
    """What it was given beside its reason, as in `force=true mode="compat"`."""
    given: dict[str, Any] = command.get("given", {})
    return " ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in given.items())
