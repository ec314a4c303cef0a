"""What operators are shown of a process: credentials never, nothing that its route redacts, and nothing null."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from strangler.domain import instant
from strangler.domain.delivery import Delivery, DeliveryAttempt, DeliveryState, Tried
from strangler.domain.events import Event
from strangler.domain.exceptions import KINDS
from strangler.domain.exchange import Attempt, AttemptOutcome
from strangler.domain.process import Effect, Process, PublicState, State
from strangler.engine.document import process_url, status_word
from strangler.operations.api.schemas import (
    COUNT,
    ID,
    INSTANT,
    NUMBER,
    TEXT,
    TRUTH,
    Schema,
    a_list,
    an_object,
    one_of,
)
from strangler.operations.api.shown import EVIDENCE, REPLY, REQUEST
from strangler.policy.model import Promise
from strangler.ports import ExceptionEntry

MOST_EVENTS = 500
"""Of a history, so many are shown."""


def known(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """An object of what is known: members that are None are left out."""
    return {name: value for name, value in pairs if value is not None}


def at(instant_or_none: int | None) -> str | None:
    """An instant as text."""
    return None if instant_or_none is None else instant.to_text(instant_or_none)


# ── A process in a list ──────────────────────────────────────────────────────────────────────────────────────────────

SUMMARY_MEMBERS: Mapping[str, Schema] = {
    "id": ID,
    "route": TEXT,
    "type": TEXT,
    "state": one_of(PublicState),
    "machineState": one_of(State),
    "status": TEXT,
    "method": TEXT,
    "createdAt": INSTANT,
    "updatedAt": INSTANT,
    "correlationId": TEXT,
    "attempts": COUNT,
    "version": COUNT,
}
SUMMARY_KNOWN: Mapping[str, Schema] = {
    "reason": TEXT,
    "effect": one_of(Effect),
    "finishedAt": INSTANT,
    "idempotencyKey": TEXT,
    "callerName": TEXT,
    "references": {"type": "object", "additionalProperties": TEXT},
    "resultStatus": NUMBER,
    "parentId": ID,
}
SUMMARY = an_object(SUMMARY_MEMBERS, SUMMARY_KNOWN)


def summary(process: Process, promise: Promise | None) -> dict[str, Any]:
    """A process as it stands in a list."""
    return {
        "id": process.id,
        "route": process.route,
        "type": process.type,
        "state": process.public_state,
        "machineState": process.state,
        "status": word(process, promise),
        "method": process.method,
        "createdAt": instant.to_text(process.created_at),
        "updatedAt": instant.to_text(process.updated_at),
        "correlationId": process.correlation_id,
        "attempts": process.tries,
        "version": process.version,
        **known(
            (
                ("reason", process.reason),
                ("effect", process.effect),
                ("finishedAt", at(process.finished_at)),
                ("idempotencyKey", process.key),
                ("callerName", process.caller_name),
                (
                    "references",
                    None if process.business_references is None else json.loads(process.business_references),
                ),
                ("resultStatus", process.result_status),
                ("parentId", process.parent_id),
            )
        ),
    }


def word(process: Process, promise: Promise | None) -> str:
    """The domain's word for where it is."""
    if promise is None:
        return process.status or process.public_state.upper()
    return status_word(process.status, process.public_state, promise.process)


# ── All of one process ───────────────────────────────────────────────────────────────────────────────────────────────

EVENT = an_object(
    {
        "sequence": NUMBER,
        "version": NUMBER,
        "at": INSTANT,
        "transition": TEXT,
        "to": one_of(State),
        "set": {"type": "object"},
        "digest": TEXT,
    },
    {"from": one_of(State), "note": TEXT},
)
ATTEMPT = an_object(
    {"number": NUMBER, "fence": NUMBER, "worker": TEXT, "startedAt": INSTANT},
    {"endedAt": INSTANT, "outcome": one_of(AttemptOutcome), "status": NUMBER, "detail": TEXT},
)
EXCEPTION = an_object(
    {"id": NUMBER, "kind": one_of(KINDS), "openedAt": INSTANT, "dueAt": INSTANT, "detail": TEXT},
    {"subject": TEXT, "owner": TEXT, "closedAt": INSTANT, "closedBy": TEXT, "action": TEXT},
)
_DELIVERY: Mapping[str, Schema] = {
    "id": TEXT,
    "process": ID,
    "version": COUNT,
    "receiver": TEXT,
    "told": one_of(PublicState),
    "state": one_of(DeliveryState),
    "createdAt": INSTANT,
    "attempts": COUNT,
    "tries": COUNT,
}
_DELIVERY_KNOWN: Mapping[str, Schema] = {"url": TEXT, "dueAt": INSTANT, "endedAt": INSTANT, "reason": TEXT}
DELIVERY = an_object(_DELIVERY, _DELIVERY_KNOWN)
DELIVERY_ATTEMPT = an_object(
    {"number": COUNT, "at": INSTANT, "milliseconds": COUNT, "outcome": one_of(Tried)},
    {"address": TEXT, "status": NUMBER, "error": TEXT, "text": TEXT, "base64": TEXT},
)
DELIVERY_WITH_LOG = an_object({**_DELIVERY, "log": a_list(DELIVERY_ATTEMPT)}, _DELIVERY_KNOWN)
WHOLE_MEMBERS: Mapping[str, Schema] = {
    **SUMMARY_MEMBERS,
    "url": TEXT,
    "deadlineAt": INSTANT,
    "promised": TRUTH,
    "promise": an_object({"digest": TEXT}, {"text": {"type": "object"}}),
    "history": a_list(EVENT),
    "tries": a_list(ATTEMPT),
    "evidence": a_list(EVIDENCE),
    "exceptions": a_list(EXCEPTION),
    "deliveries": a_list(DELIVERY_WITH_LOG),
}
WHOLE_KNOWN: Mapping[str, Schema] = {
    **SUMMARY_KNOWN,
    "revision": TEXT,
    "traceparent": TEXT,
    "dueAt": INSTANT,
    "waitsFor": TEXT,
    "retainUntilAt": INSTANT,
    "worker": TEXT,
    "followTarget": TEXT,
    "followUntilAt": INSTANT,
    "earlierEvents": COUNT,
    "request": REQUEST,
    "reply": REPLY,
}


def particulars(process: Process, retain_until_at: int | None, waits_for: str | None) -> dict[str, Any]:
    """What is to be known of a process beside what stands in a list. ``waits_for``: what keeps it from going on."""
    return {
        "url": process_url(process),
        "deadlineAt": instant.to_text(process.deadline_at),
        "promised": process.promised,
        **known(
            (
                ("revision", process.revision),
                ("traceparent", process.trace),
                ("dueAt", at(process.due_at)),
                ("waitsFor", waits_for),
                ("retainUntilAt", at(retain_until_at)),
                ("worker", process.owner),
                ("followTarget", process.follow_target),
                ("followUntilAt", at(process.follow_until_at)),
            )
        ),
    }


def history(events: Sequence[Event]) -> dict[str, Any]:
    """The latest events of a process: one that was followed for days has very many."""
    left_out = max(0, len(events) - MOST_EVENTS)
    told: dict[str, Any] = {"history": [event(one) for one in events[left_out:]]}
    return {**told, "earlierEvents": left_out} if left_out else told


def event(one: Event) -> dict[str, Any]:
    """An event of a history."""
    content = json.loads(one.content)
    return known(
        (
            ("sequence", one.sequence),
            ("version", one.version),
            ("at", instant.to_text(one.at)),
            ("transition", content["transition"]),
            ("from", content.get("from")),
            ("to", content["to"]),
            ("set", {name: value for name, value in content["set"].items() if value is not None}),
            ("note", content.get("note")),
            ("digest", one.digest.hex()),
        )
    )


def attempt(one: Attempt) -> dict[str, Any]:
    """A try."""
    return known(
        (
            ("number", one.number),
            ("fence", one.fence),
            ("worker", one.owner),
            ("startedAt", instant.to_text(one.started_at)),
            ("endedAt", at(one.ended_at)),
            ("outcome", one.outcome),
            ("status", one.status),
            ("detail", one.detail),
        )
    )


def exception(one: ExceptionEntry) -> dict[str, Any]:
    """Something that a person had, or has, to look at."""
    return known(
        (
            ("id", one.id),
            ("kind", one.kind),
            ("subject", one.subject or None),
            ("openedAt", instant.to_text(one.opened_at)),
            ("dueAt", instant.to_text(one.due_at)),
            ("detail", one.detail),
            ("owner", one.owner),
            ("closedAt", at(one.closed_at)),
            ("closedBy", one.closed_by),
            ("action", one.action),
        )
    )


def delivery(one: Delivery) -> dict[str, Any]:
    """What somebody is told."""
    return known(
        (
            ("id", one.id),
            ("process", one.process_id),
            ("version", one.version),
            ("receiver", one.receiver),
            ("url", one.url),
            ("told", one.told),
            ("state", one.state),
            ("reason", one.reason),
            ("createdAt", instant.to_text(one.created_at)),
            ("dueAt", at(one.due_at)),
            ("endedAt", at(one.ended_at)),
            ("attempts", one.attempts),
            ("tries", one.tries),
        )
    )


def delivery_with_log(one: Delivery, log: Iterable[DeliveryAttempt]) -> dict[str, Any]:
    """What somebody is told, with every attempt at it."""
    return {**delivery(one), "log": [_delivery_attempt(attempt) for attempt in log]}


def _delivery_attempt(one: DeliveryAttempt) -> dict[str, Any]:
    text, data = None, None
    try:
        text = one.head.decode() or None
    except UnicodeDecodeError:
        data = b64encode(one.head).decode("ascii")
    return known(
        (
            ("number", one.number),
            ("at", instant.to_text(one.at)),
            ("milliseconds", one.duration),
            ("outcome", one.outcome),
            ("address", one.address),
            ("status", one.status),
            ("error", one.error),
            ("text", text),
            ("base64", data),
        )
    )
