"""``strangler exceptions``: what people have to look at, who does, and what is done about it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from strangler.cli.asking import (
    Ops,
    add_json_argument,
    add_limit_argument,
    add_ops_arguments,
    add_why_argument,
    process_id,
)
from strangler.cli.hints import unmet
from strangler.cli.showing import print_fields, print_hints, print_json, print_table, short_time
from strangler.domain import instant
from strangler.domain.errors import AskFailed, AskRefused, OperatorError
from strangler.domain.exceptions import ENDS, KINDS

_PAGE = 200
_ENDS = {state.value: action.value for action, state in ENDS.items()}
"""How a process ended, and the action that says so."""


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "exceptions", help="what people have to look at: list it, take it, write notes, resolve it"
    )
    verbs = parser.add_subparsers(dest="doing", metavar="ACTION", required=True)
    _add_list(verbs)
    _add_show(verbs)
    _add_claim(verbs)
    _add_release(verbs)
    _add_note(verbs)
    _add_resolve(verbs)


def run(arguments: argparse.Namespace) -> int:
    """Do it. Returns the exit code."""
    act: Callable[[argparse.Namespace, Ops], int] = arguments.act
    return act(arguments, Ops(arguments))


def _add(verbs: Any, name: str, act: Callable[[argparse.Namespace, Ops], int], meaning: str, **more: Any) -> Any:
    parser = verbs.add_parser(name, help=meaning, **more)
    parser.set_defaults(act=act)
    return parser


def _add_list(verbs: Any) -> None:
    parser = _add(verbs, "list", _list, "the queue, the longest due first", epilog=f"Kinds: {', '.join(KINDS)}.")
    _add_wishes(parser)
    parser.add_argument("--state", choices=("open", "closed", "all"), default="open", help="default: open")
    add_limit_argument(parser, None)
    add_json_argument(parser)
    add_ops_arguments(parser)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected the number of an exception, as `list` shows it, found {text!r}")
    return int(text)


def _add_show(verbs: Any) -> None:
    parser = _add(verbs, "show", _show, "one exception, what was done about it, and what may be done")
    parser.add_argument("id", type=_number, metavar="ID", help="its number")
    add_json_argument(parser)
    add_ops_arguments(parser)


def _add_claim(verbs: Any) -> None:
    parser = _add(verbs, "claim", _claim, "say that you look after it")
    parser.add_argument("ids", nargs="+", type=_number, metavar="ID", help="its number")
    add_ops_arguments(parser)


def _add_release(verbs: Any) -> None:
    parser = _add(verbs, "release", _release, "give it back: nobody looks after it")
    parser.add_argument("ids", nargs="+", type=_number, metavar="ID", help="its number")
    add_why_argument(parser)
    add_ops_arguments(parser)


def _add_note(verbs: Any) -> None:
    parser = _add(verbs, "note", _note, "write down what was found out")
    parser.add_argument("id", type=_number, metavar="ID", help="its number")
    parser.add_argument("text", metavar="TEXT", help="on one line")
    add_ops_arguments(parser)


def _add_resolve(verbs: Any) -> None:
    parser = _add(
        verbs,
        "resolve",
        _resolve,
        "do something about it, which closes it",
        description="Does something about exceptions, which closes them. What may be done depends on the kind; `show` "
        "says it. Several numbers, or all open ones that --kind, --route, --process and --owner leave, are done one by "
        "one; each has its own line in the audit log.",
    )
    parser.add_argument("ids", nargs="*", type=_number, metavar="ID", help="their numbers; none: see --kind …")
    _add_wishes(parser)
    group = parser.add_argument_group("what is done").add_mutually_exclusive_group(required=True)
    group.add_argument("--as", dest="end", choices=sorted(_ENDS), help="the process in doubt ended so")
    group.add_argument("--repeat", action="store_true", help="it surely did not happen: the call is made again")
    group.add_argument("--redrive", action="store_true", help="the receiver is tried again")
    group.add_argument("--accept", action="store_true", help="it was looked at, and stays as it is")
    add_outcome_arguments(parser)
    add_why_argument(parser)
    add_ops_arguments(parser)


def add_outcome_arguments(parser: argparse.ArgumentParser) -> None:
    """What a person found out about the end of a process."""
    group = parser.add_argument_group("how the process ended")
    group.add_argument("--status", metavar="WORD", help="the domain's word, shown to the client")
    group.add_argument("--reason", metavar="TEXT", help="shown to the client")
    group.add_argument("--effect", choices=("none", "applied", "unknown"), help="what the call did, if not the usual")
    group.add_argument("--evidence", metavar="TEXT", help="how it is known; kept with the process")


def _add_wishes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which exceptions")
    group.add_argument("--kind", metavar="KIND,…", help="of these kinds")
    group.add_argument("--route", metavar="NAME", help="of processes of one route")
    group.add_argument("--process", metavar="ID", help="about one process")
    group.add_argument("--owner", metavar="NAME", help="that somebody looks after; nobody: that nobody does")


def _wishes(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "kind": arguments.kind,
        "route": arguments.route,
        "process": None if arguments.process is None else process_id(arguments.process),
        "owner": arguments.owner,
    }


def _found(ops: Ops, query: Mapping[str, Any], limit: int) -> tuple[list[dict[str, Any]], Mapping[str, int]]:
    """Exceptions, page by page, and how many are open of each kind. ``limit`` 0: all of them."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        left = limit - len(found) if limit else _PAGE
        page = ops.get("/exceptions", {**query, "limit": min(_PAGE, left), "cursor": cursor})
        found += page["exceptions"]
        cursor = page.get("cursor")
        if cursor is None or (limit and len(found) >= limit):
            return found, page["open"]


def _list(arguments: argparse.Namespace, ops: Ops) -> int:
    query = {**_wishes(arguments), "state": arguments.state}
    found, counts = _found(ops, query, arguments.limit)
    if arguments.json:
        print_json({"exceptions": found, "open": counts})
        return 0
    now = time.time() * 1000
    print_table(
        ("id", "kind", "age", "due", "owner", "route", "process", "detail"),
        (
            (
                one["id"],
                one["kind"],
                age(now - instant.from_text(one["openedAt"])),
                _due(one, now),
                one.get("owner"),
                one.get("route"),
                one.get("process"),
                one["detail"],
            )
            for one in found
        ),
    )
    told = [f"{count} {kind}" for kind, count in counts.items() if count]
    print(f"\nopen: {', '.join(told) or 'none'}")
    if not found:
        print_hints(unmet(ops, query))
    return 0


def _due(one: Mapping[str, Any], now: float) -> str:
    if "closedAt" in one:
        return f"closed: {one['action']}"
    left = instant.from_text(one["dueAt"]) - now
    return f"in {age(left)}" if left > 0 else f"{age(-left)} late"


def age(milliseconds: float) -> str:
    """A span of time in its largest unit."""
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000)):
        if milliseconds >= length:
            return f"{int(milliseconds // length)}{unit}"
    return f"{max(0, int(milliseconds // 1000))}s"


def _show(arguments: argparse.Namespace, ops: Ops) -> int:
    document = ops.get(f"/exceptions/{arguments.id}")
    if arguments.json:
        print_json(document)
        return 0
    print_fields(
        (
            ("exception", document["id"]),
            ("kind", document["kind"]),
            ("process", document.get("process")),
            ("route", document.get("route")),
            ("about", document.get("subject")),
            ("opened", short_time(document["openedAt"])),
            ("due", short_time(document["dueAt"])),
            ("owner", document.get("owner")),
            ("closed", short_time(document["closedAt"]) if "closedAt" in document else None),
            ("by", document.get("closedBy")),
            ("action", document.get("action")),
            ("detail", document["detail"]),
            ("may be", ", ".join(document["actions"]) or None),
        )
    )
    if document["notes"]:
        print()
        print_table(
            ("at", "who", "did", "text"),
            ((short_time(note["at"]), note["who"], note["did"], note["text"]) for note in document["notes"]),
        )
    return 0


def _claim(arguments: argparse.Namespace, ops: Ops) -> int:
    def claim(number: int) -> str:
        return f"is looked after by {ops.post(f'/exceptions/{number}/claim', {})['owner']}"

    return _one_by_one(arguments.ids, claim)


def _release(arguments: argparse.Namespace, ops: Ops) -> int:
    def release(number: int) -> str:
        ops.post(f"/exceptions/{number}/release", {"why": arguments.why})
        return "is nobody's"

    return _one_by_one(arguments.ids, release)


def _one_by_one(numbers: Sequence[int], act: Callable[[int], str]) -> int:
    """Each by itself: one that is refused does not keep the others. Returns 1 where one was refused."""
    if len(numbers) == 1:
        print(f"{numbers[0]} {act(numbers[0])}")
        return 0
    refused = 0
    for number in numbers:
        try:
            print(f"{number} {act(number)}")
        except AskRefused as error:
            refused += 1
            print(f"{number} is not: {error}")
    print(f"{len(numbers) - refused} done, {refused} refused")
    return 1 if refused else 0


def _note(arguments: argparse.Namespace, ops: Ops) -> int:
    ops.post(f"/exceptions/{arguments.id}/note", {"text": arguments.text})
    print(f"noted with {arguments.id}")
    return 0


def _resolve(arguments: argparse.Namespace, ops: Ops) -> int:
    """Each by itself: one that is refused does not keep the others. Returns 1 where one was refused."""
    body = {**outcome(arguments), "action": _action(arguments), "why": arguments.why}
    numbers, refused = _meant(arguments, ops), 0
    for number in numbers:
        try:
            document = ops.post(f"/exceptions/{number}/resolve", body)
        except AskFailed as error:
            document = ops.get(f"/exceptions/{number}")
            if arguments.ids or "closedAt" not in document:  # else it went with another one
                refused += 1
                print(f"{number} is not: {error}")
                continue
        print(f"{number} is closed ({document['kind']}, {document['action']})")
    if len(numbers) != 1:
        print(f"{len(numbers) - refused} closed, {refused} refused")
    return 1 if refused else 0


def _meant(arguments: argparse.Namespace, ops: Ops) -> list[int]:
    wishes = _wishes(arguments)
    if arguments.ids:
        if any(value is not None for value in wishes.values()):
            raise OperatorError("give numbers, or --kind, --route, --process, --owner, not both")
        return list(arguments.ids)
    if all(value is None for value in wishes.values()):
        raise OperatorError("which ones? Give their numbers, or --kind, --route, --process or --owner")
    numbers = [one["id"] for one in _found(ops, {**wishes, "state": "open"}, 0)[0]]
    if not numbers and (why := unmet(ops, wishes)):
        raise OperatorError("\n".join(why))
    return numbers


def _action(arguments: argparse.Namespace) -> str:
    if arguments.end is not None:
        return _ENDS[arguments.end]
    return next(name for name in ("repeat", "redrive", "accept") if getattr(arguments, name))


def outcome(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `add_outcome_arguments` asks for."""
    return {name: getattr(arguments, name) for name in ("status", "reason", "effect", "evidence")}
