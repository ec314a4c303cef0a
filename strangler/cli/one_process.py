"""One process on a screen: what a support agent wants to know first, then all the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from strangler.cli.showing import print_fields, print_table, safe, short_time

_ADVICE = {
    "none": "yes: nothing was done in the legacy system",
    "applied": "no: the legacy system did it",
    "unknown": "not yet: nobody knows what it did; ask the legacy system first",
}


def print_process(document: Mapping[str, Any]) -> None:
    """All of it."""
    print_fields(_answers(document))
    _print_history(document)
    _print_tries(document)
    _print_exceptions(document)
    _print_deliveries(document)
    for name in ("request", "reply"):
        if name in document:
            _print_message(name, document[name])
    for one in document["evidence"]:
        tried = f" of try {one['attempt']}" if one["attempt"] else ""  # 0: it was never sent
        _print_message(f"evidence: {one['source']}{tried}", one)


def _answers(document: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Did you receive it? Did it work? Can I try again?"""
    state, machine = document["state"], document["machineState"]
    references = document.get("references")
    return [
        ("process", document["id"]),
        ("received", short_time(document["createdAt"])),
        ("state", state if state == machine else f"{state} ({machine})"),
        ("status", document["status"]),
        ("reason", document.get("reason")),
        ("try again?", _try_again(document)),
        ("ended", short_time(document["finishedAt"]) if "finishedAt" in document else None),
        ("next", short_time(document["dueAt"]) if "dueAt" in document else None),
        ("waits for", document.get("waitsFor")),
        ("deadline", short_time(document["deadlineAt"])),
        ("route", f"{document['route']} ({document['type']})"),
        ("url", document["url"]),
        ("caller", document.get("callerName")),
        ("correlation", document["correlationId"]),
        ("key", document.get("idempotencyKey")),
        ("references", None if references is None else ", ".join(f"{k}={v}" for k, v in references.items())),
        ("parent", document.get("parentId")),
        ("trace", document.get("traceparent")),
        ("policy", document.get("revision")),
        ("kept until", short_time(document["retainUntilAt"]) if "retainUntilAt" in document else None),
    ]


def _try_again(document: Mapping[str, Any]) -> str:
    effect = document.get("effect")
    if effect is None:
        return "no need: it was received, and waits" if "waitsFor" in document else "no need: it is under way"
    return _ADVICE[effect]


def _print_history(document: Mapping[str, Any]) -> None:
    print("\nhistory")
    if "earlierEvents" in document:
        print(f"  ({document['earlierEvents']} earlier events are not shown)")
    print_table(
        ("#", "when", "transition", "state", "note"),
        (
            (one["sequence"], short_time(one["at"]), one["transition"], one["to"], _told(one))
            for one in document["history"]
        ),
    )


def _told(one: Mapping[str, Any]) -> str:
    parts = [str(one["set"][name]) for name in ("status", "reason") if name in one["set"]]
    return "; ".join([*parts, one["note"]] if "note" in one else parts)


def _print_tries(document: Mapping[str, Any]) -> None:
    if document["tries"]:
        print("\ntries")
        print_table(
            ("#", "begun", "ended", "outcome", "status", "detail"),
            (
                (
                    one["number"],
                    short_time(one["startedAt"]),
                    short_time(one.get("endedAt")),
                    one.get("outcome", "under way"),
                    one.get("status"),
                    one.get("detail"),
                )
                for one in document["tries"]
            ),
        )


def _print_exceptions(document: Mapping[str, Any]) -> None:
    if document["exceptions"]:
        print("\nexceptions")
        print_table(
            ("id", "kind", "opened", "owner", "closed", "detail"),
            (
                (
                    one["id"],
                    one["kind"],
                    short_time(one["openedAt"]),
                    one.get("owner"),
                    short_time(one.get("closedAt")),
                    one["detail"],
                )
                for one in document["exceptions"]
            ),
        )


def _print_deliveries(document: Mapping[str, Any]) -> None:
    if document.get("deliveries"):
        print("\ndeliveries")
        print_table(
            ("id", "receiver", "told", "state", "when", "to", "outcome", "status", "answer"),
            (
                (one["id"], one["receiver"], one["told"], one["state"], *tried)
                for one in document["deliveries"]
                for tried in _tried(one)
            ),
        )


def _tried(one: Mapping[str, Any]) -> list[tuple[object, ...]]:
    """Every attempt at a delivery; where there was none, why not."""
    if not one["log"]:
        # `process.retain_deliveries` may be shorter than the process is kept.
        said = "no longer kept" if "endedAt" in one else "not tried yet"
        return [(short_time(one.get("dueAt") or one.get("endedAt")), "", said, "", one.get("reason"))]
    return [
        (
            short_time(line["at"]),
            line.get("address"),
            line["outcome"],
            line.get("status"),
            line.get("error") or line.get("text"),
        )
        for line in one["log"]
    ]


def _print_message(name: str, message: Mapping[str, Any]) -> None:
    first = f"{message['method']} {message['target']}" if "method" in message else str(message.get("status", ""))
    print(f"\n{name}  {safe(first)}".rstrip())
    for header in message["headers"]:
        print(f"  {safe(header['name'])}: {safe(header['value'])}")
    body = message["body"]
    if body.get("hidden"):
        print(f"  ({body['size']} bytes that are not shown)")
    elif "base64" in body:
        print(f"  ({body['size']} bytes that are no text)")
    elif body.get("text"):
        print()
        for line in _readable(body).splitlines():
            print(f"  {safe(line)}")
        if body.get("truncated"):
            print(f"  … ({body['size']} bytes in all)")


def _readable(body: Mapping[str, Any]) -> str:
    """JSON with line breaks, all else as it is."""
    text = str(body["text"])
    if not body.get("truncated") and text[:1] in "{[":
        try:
            return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        except ValueError:
            return text
    return text
