"""``strangler routes``: what each route does today, and what waits for it."""

from __future__ import annotations

import argparse
from typing import Any

from strangler.cli.asking import Ops, add_json_argument, add_ops_arguments
from strangler.cli.showing import print_json, print_table


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser("routes", help="show the routes of a running server")
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = verbs.add_parser("list", help="all routes, their modes, and what waits for them")
    add_json_argument(listing)
    add_ops_arguments(listing)
    listing.set_defaults(act=_list)


def run(arguments: argparse.Namespace) -> int:
    """Do it. Returns the exit code."""
    code: int = arguments.act(arguments)
    return code


def _list(arguments: argparse.Namespace) -> int:
    document = Ops(arguments).get("/routes")
    if arguments.json:
        print_json(document)
        return 0
    print_table(
        ("route", "mode", "waiting", "running", "upstream", "matches"),
        (
            (
                route["name"],
                _mode(route),
                route["waiting"],
                route["running"],
                route["upstream"],
                f"{' '.join(route['methods']) or 'all'} {' '.join(route['paths'])}",
            )
            for route in document["routes"]
        ),
    )
    return 0


def _mode(route: dict[str, Any]) -> str:
    rollout = route.get("rollout")
    return str(route["mode"]) if rollout is None else f"{route['mode']} ({rollout['percent']:g}% {rollout['mode']})"
