"""``strangler processes resolve`` and ``repeat``: a person settles what is in doubt."""

from __future__ import annotations

import argparse
from typing import Any

from strangler.cli.asking import Ops, add_json_argument, add_ops_arguments, add_why_argument, process_id, segment
from strangler.cli.exceptions import add_outcome_arguments, outcome
from strangler.cli.showing import print_json


def add_parsers(verbs: Any) -> None:
    """Add both to the verbs of ``strangler processes``."""
    resolve = verbs.add_parser(
        "resolve",
        help="say how a process in doubt ended",
        description="Says how a process ended of which nobody knows what it did, or one that is still to be sent "
        "while its route is on hold. What asked for a person is closed.",
    )
    resolve.add_argument("id", metavar="ID", help="its id, or its URL")
    resolve.add_argument("--as", dest="end", required=True, choices=("completed", "failed", "rejected"))
    add_outcome_arguments(resolve)
    resolve.set_defaults(act=_resolve)
    repeat = verbs.add_parser(
        "repeat",
        help="have the call of a process in doubt made again",
        description="Has the call of a process in doubt made again, because it surely did not happen.",
    )
    repeat.add_argument("id", metavar="ID", help="its id, or its URL")
    repeat.set_defaults(act=_repeat)
    for parser in (resolve, repeat):
        add_why_argument(parser)
        add_json_argument(parser)
        add_ops_arguments(parser)


def _resolve(arguments: argparse.Namespace, ops: Ops) -> int:
    return _post(arguments, ops, "resolve", {"as": arguments.end, **outcome(arguments)})


def _repeat(arguments: argparse.Namespace, ops: Ops) -> int:
    return _post(arguments, ops, "repeat", {})


def _post(arguments: argparse.Namespace, ops: Ops, verb: str, body: dict[str, Any]) -> int:
    path = f"/processes/{segment(process_id(arguments.id))}/{verb}"
    document = ops.post(path, {**body, "why": arguments.why})
    if arguments.json:
        print_json(document)
    else:
        print(f"{document['id']} is {document['state']}")
    return 0
