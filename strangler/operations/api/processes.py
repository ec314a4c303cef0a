"""``GET /processes``, one of them whole, and lists to take away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from strangler.domain.exchange import Body
from strangler.domain.idempotency import sought_key
from strangler.domain.process import FINAL, MACHINE_STATES, Process, State, Tombstone
from strangler.engine.document import status_meanings
from strangler.operations.api import exporting, views
from strangler.operations.api.endpoint import Answered, Asked, Done, Endpoint, Parameter, Refusal, Stream, Told
from strangler.operations.api.schemas import (
    COUNT,
    ID,
    INSTANT_PARAMETER,
    LIMIT_SCHEMA,
    TEXT,
    a_list,
    an_object,
    one_of,
    read_id,
    read_instant,
    read_limit,
    read_text,
    read_word,
)
from strangler.operations.api.shown import Shown
from strangler.policy.model import Promise
from strangler.ports import Archive, Bodies, Deliveries, DeliveryQuery, Desk, ProcessStore, Search

STATES: Mapping[str, tuple[tuple[State, bool | None], ...]] = {
    **{shown.value: states for shown, states in MACHINE_STATES.items()},
    **{state.value: ((state, None),) for state in (State.WAITING, State.FOLLOWING, State.IN_DOUBT)},
    "open": tuple((state, None) for state in State if state not in FINAL),
    "final": tuple((state, None) for state in State if state in FINAL),
}
"""What may be asked for as a state: what clients see, the machine's words that they do not, and two sums."""

_MOST_DELIVERIES = 200


class Sources(NamedTuple):
    """What the endpoints read from."""

    desk: Desk
    store: ProcessStore
    bodies: Bodies
    archive: Archive
    deliveries: Deliveries
    promise_of: Callable[[str], Promise | None]
    promises: Callable[[], Iterable[Promise]]  # all that is known
    promise_today: Callable[[str], Promise | None]  # of a route
    as_it_stands: Callable[[Process], Process]  # with its deadline by now
    waits_for: Callable[[Process], str | None]  # what keeps it from going on, for people


def endpoints(sources: Sources) -> tuple[Endpoint, ...]:
    """The endpoints of this module."""
    return _listing(sources), _showing(sources), _exporting(sources)


def _listing(sources: Sources) -> Endpoint:
    async def listed(asked: Asked) -> Told:
        search = _search(asked, sources)
        if isinstance(search, Refusal):
            return search
        found = await sources.desk.search(search)
        document: dict[str, Any] = {
            "processes": [views.summary(one, sources.promise_of(one.promise)) for one in found.processes],
            "looked": found.looked,
        }
        if found.before_id is not None:
            document["cursor"] = found.before_id
        return Done(document)

    page = an_object({"processes": a_list(views.SUMMARY), "looked": COUNT}, {"cursor": ID})
    return Endpoint(
        method="GET",
        path="/processes",
        name="listProcesses",
        about="Processes by what is known of them, newest first. A page looks at a bounded part of the store: with "
        "a cursor there may be more, also where it holds none.",
        handle=listed,
        parameters=(
            *_FILTERS,
            Parameter(name="limit", about="of a page", schema=LIMIT_SCHEMA, read=read_limit),
            Parameter(name="cursor", about="as the page before gave it", schema=ID, read=read_id),
        ),
        answers={200: Answered("A page; `looked` is how many were looked at for it", page)},
        problems=("store-unavailable",),
    )


def _showing(sources: Sources) -> Endpoint:
    async def whole(asked: Asked) -> Told:
        return await _whole(asked.path["id"], sources)

    return Endpoint(
        method="GET",
        path="/processes/{id}",
        name="showProcess",
        about="One process whole: its history, tries, evidence, request and reply, and what was promised with it.",
        handle=whole,
        answers={200: Answered("All of it", an_object(views.WHOLE_MEMBERS, views.WHOLE_KNOWN))},
        problems=("no-such-process", "no-longer-kept", "store-unavailable"),
    )


def _exporting(sources: Sources) -> Endpoint:
    async def exported(asked: Asked) -> Told:
        search = _search(asked, sources)
        if isinstance(search, Refusal):
            return search
        if asked.query.get("format", "csv") == "csv":
            return Stream("text/csv; charset=utf-8", exporting.as_csv(search, sources.desk, sources.promise_of))
        return Stream("application/jsonl", exporting.as_lines(search, sources.desk, sources.promise_of))

    return Endpoint(
        method="GET",
        path="/export/processes",
        name="exportProcesses",
        about="All processes that a search finds, newest first, as CSV or JSON lines. In CSV a text that a "
        "spreadsheet would take for a formula gets a ' before it.",
        handle=exported,
        parameters=(
            *_FILTERS,
            Parameter(
                name="format",
                about="csv, or one JSON object per line",
                schema={**one_of(["csv", "jsonl"]), "default": "csv"},
                read=read_word(["csv", "jsonl"]),
            ),
        ),
        answers={200: Answered("All of them", None, ("text/csv", "application/jsonl"))},
        problems=("store-unavailable",),
    )


# ── What is asked for ────────────────────────────────────────────────────────────────────────────────────────────────


def _read_key(value: str) -> str:
    return sought_key(read_text(1000)(value))


def _read_reference(value: str) -> tuple[str | None, str]:
    name, equals, text = value.partition("=")
    found = (name, text) if equals and name else (None, value)
    if not found[1]:
        raise ValueError("expected policyNumber=P-1003, or P-1003 alone")
    return found


def _read_states(value: str) -> tuple[tuple[State, bool | None], ...]:
    read = read_word(STATES)
    return tuple(dict.fromkeys(pair for word in value.split(",") for pair in STATES[read(word)]))


_FILTERS = (
    Parameter(name="createdAfter", about="accepted then or later", schema=INSTANT_PARAMETER, read=read_instant),
    Parameter(name="createdBefore", about="accepted earlier", schema=INSTANT_PARAMETER, read=read_instant),
    Parameter(name="state", about=f"one or several, with commas: {', '.join(STATES)}", schema=TEXT, read=_read_states),
    Parameter(name="status", about="the domain's word", schema=TEXT, read=read_text()),
    Parameter(name="route", about="the name of a route", schema=TEXT, read=read_text()),
    Parameter(name="caller", about="the name of a caller (`access.name`)", schema=TEXT, read=read_text()),
    Parameter(
        name="reference",
        about="a business reference (`process.references`): its text, or NAME=TEXT",
        schema=TEXT,
        read=_read_reference,
    ),
    Parameter(name="correlationId", about="the correlation id", schema=TEXT, read=read_text(1000)),
    Parameter(name="idempotencyKey", about="the key as the client gave it", schema=TEXT, read=_read_key),
    Parameter(name="text", about="is in the reason; needs createdAfter", schema=TEXT, read=read_text()),
)


def _search(asked: Asked, sources: Sources) -> Search | Refusal:
    given = asked.query
    if "text" in given and "createdAfter" not in given:
        return Refusal("bad-request", "text is looked for within a range of dates: give createdAfter")
    status = given.get("status")
    return Search(
        created_after=given.get("createdAfter"),
        created_before=given.get("createdBefore"),
        states=given.get("state", ()),
        status=status,
        status_means=() if status is None else status_meanings(status, sources.promises()),
        route=given.get("route"),
        caller_name=given.get("caller"),
        reference=given.get("reference"),
        correlation_id=given.get("correlationId"),
        key=given.get("idempotencyKey"),
        text=given.get("text"),
        before_id=given.get("cursor"),
        limit=given.get("limit", Search().limit),
    )


# ── One whole ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _whole(process_id: str, sources: Sources) -> Told:
    process = await sources.store.process(process_id)
    if isinstance(process, Tombstone):
        return Refusal("no-longer-kept", "it ended, and its record is no longer kept")
    carried = await sources.desk.carried(process_id)
    if process is None or carried is None:
        return Refusal("no-such-process", "there is no process of this id")
    promise = sources.promise_of(process.promise)
    shown = Shown([one for one in (promise, sources.promise_today(process.route)) if one is not None])
    document = {
        **views.summary(process, promise),
        **views.particulars(sources.as_it_stands(process), carried.retain_until_at, sources.waits_for(process)),
        "promise": {"digest": process.promise, **await _promise_text(process.promise, sources.archive)},
        **views.history(await sources.store.events(process_id)),
        "tries": [views.attempt(one) for one in carried.attempts],
        "evidence": [shown.evidence(one) for one in carried.evidence],
        "exceptions": [views.exception(one) for one in carried.exceptions],
        "deliveries": await _told(process_id, sources.deliveries),
    }
    request = await sources.store.request(process_id)
    if request is not None:
        data = await _begin(request.body, process_id, "request", sources.bodies)
        document["request"] = shown.request(process, request, data, carried.sealed)
    reply = await sources.store.reply(process_id)
    if reply is not None:
        data = await _begin(reply[1].body, process_id, f"reply-{reply[0]}", sources.bodies)
        document["reply"] = shown.reply(*reply, data)
    return Done(document)


async def _told(process_id: str, deliveries: Deliveries) -> list[dict[str, Any]]:
    found = await deliveries.find(DeliveryQuery(process_id=process_id, limit=_MOST_DELIVERIES))
    logs = [await deliveries.log(one[:3]) for one in reversed(found)]
    return [views.delivery_with_log(*log) for log in logs if log is not None]


async def _promise_text(digest: str, archive: Archive) -> dict[str, Any]:
    text = (await archive.load("promise")).get(digest)
    return {} if text is None else {"text": json.loads(text)}


async def _begin(body: Body, process_id: str, part: str, bodies: Bodies) -> bytes:
    """The first bytes of a body, as many as lie together."""
    if body.data is not None:
        return body.data
    if not body.chunks:
        return b""
    try:
        return await bodies.read_chunk(process_id, part, 0)
    except KeyError:
        return b""
