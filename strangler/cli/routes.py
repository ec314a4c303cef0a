"""``strangler routes``: what each route does today, what waits for it, and orders beside the policy."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from strangler.cli.asking import Ops, add_json_argument, add_ops_arguments, add_why_argument, segment
from strangler.cli.showing import print_json, print_table, short_time
from strangler.config.scalars import seconds
from strangler.domain.errors import OperatorError
from strangler.operations.api.routes import LONGEST
from strangler.policy.model import Mode


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "routes", help="show the routes of a running server, hold their calls, set a mode for a while"
    )
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = verbs.add_parser("list", help="all routes, their modes, and what waits for them")
    add_json_argument(listing)
    add_ops_arguments(listing)
    listing.set_defaults(act=_list)
    _add_order(verbs, "hold", "let its recorded calls wait; accepted processes are kept", _hold)
    _add_order(verbs, "release", "let its recorded calls go on", _release)
    setting = _add_order(verbs, "set", "give it another mode for a while; the policy file stays as it is", _set)
    setting.add_argument("--mode", required=True, choices=[mode.value for mode in Mode], help="for all of its clients")
    setting.add_argument("--for", required=True, dest="duration", metavar="DURATION", help="30m, 2h, 7d")
    _add_order(verbs, "clear", "give it the mode back that its policy says", _clear)


def _add_order(verbs: Any, name: str, about: str, act: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=about)
    parser.add_argument("route", metavar="NAME", help="name of the route")
    add_why_argument(parser)
    add_json_argument(parser)
    add_ops_arguments(parser)
    parser.set_defaults(act=act)
    return parser


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
        ("route", "mode", "held back", "waiting", "running", "upstream", "matches"),
        (
            (
                route["name"],
                _mode(route),
                _standing(route).removeprefix(", "),
                route["waiting"],
                route["running"],
                route["upstream"],
                f"{' '.join(route['methods']) or 'all'} {' '.join(route['paths'])}",
            )
            for route in document["routes"]
        ),
    )
    return 0


def _hold(arguments: argparse.Namespace) -> int:
    return _order(arguments, "hold", {})


def _release(arguments: argparse.Namespace) -> int:
    return _order(arguments, "release", {})


def _clear(arguments: argparse.Namespace) -> int:
    return _order(arguments, "mode/clear", {})


def _set(arguments: argparse.Namespace) -> int:
    try:
        whole = round(seconds(arguments.duration))
    except ValueError as error:
        raise OperatorError(f"--for: {error}") from None
    if not 1 <= whole <= LONGEST:
        raise OperatorError("--for: expected from 1s to 366d; what is meant for good belongs into the policy")
    return _order(arguments, "mode", {"mode": arguments.mode, "seconds": whole})


def _order(arguments: argparse.Namespace, what: str, body: dict[str, Any]) -> int:
    path = f"/routes/{segment(arguments.route)}/{what}"
    route = Ops(arguments).post(path, {**body, "why": arguments.why})
    if arguments.json:
        print_json(route)
    elif "gone" in route:
        print(f"{route['name']}: done; the policy in force has no such route")
    else:
        print(f"{route['name']}: {_mode(route)}{_standing(route)}, {route['waiting']} waiting")
    return 0


def _standing(route: dict[str, Any]) -> str:
    """What holds it back, as one reads it."""
    told = []
    if (hold := route.get("hold")) is not None:
        told.append(f"on hold since {short_time(hold['since'])} by {hold['who']}")
    if route["circuit"] != "closed":
        told.append(f"circuit {route['circuit']}")
    return "".join(f", {text}" for text in told)


def _mode(route: dict[str, Any]) -> str:
    if (ordered := route.get("ordered")) is not None:
        return f"{route['mode']} until {short_time(ordered['until'])} (else {ordered['instead']})"
    rollout = route.get("rollout")
    return str(route["mode"]) if rollout is None else f"{route['mode']} ({rollout['percent']:g}% {rollout['mode']})"
