"""``strangler drain``: a running instance takes nothing new for a while."""

from __future__ import annotations

import argparse
from typing import Any

from strangler.cli.asking import Ops, add_json_argument, add_ops_arguments, add_why_argument
from strangler.cli.showing import print_json


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "drain",
        help="have a running instance take nothing new, until --undo or a restart",
        description="The instance is not ready (/readyz 503), so that a load balancer sends nobody there, and refuses "
        "new work with 503 `draining`. What was accepted goes on, and so does what passes through.",
    )
    parser.add_argument("--undo", action="store_true", help="take new work again")
    add_why_argument(parser)
    add_json_argument(parser)
    add_ops_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it. Returns 0."""
    document = Ops(arguments).post("/undrain" if arguments.undo else "/drain", {"why": arguments.why})
    if arguments.json:
        print_json(document)
    else:
        print(f"it is {document['phase']}")
    return 0
