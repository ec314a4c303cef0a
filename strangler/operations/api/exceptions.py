"""The exception queue: what people have to look at, who does, and what is done about it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from strangler.domain import instant
from strangler.domain.exceptions import KINDS, Action
from strangler.domain.process import Effect
from strangler.engine.exceptions import ExceptionDesk, Refused, Remedy, Standing
from strangler.operations.api import views
from strangler.operations.api.endpoint import Answered, Asked, Done, Endpoint, Parameter, Refusal, Role, Told
from strangler.operations.api.schemas import (
    COUNT,
    ID,
    INSTANT,
    LIMIT_SCHEMA,
    LINE,
    NUMBER,
    TEXT,
    Schema,
    a_list,
    an_object,
    one_of,
    read_id,
    read_limit,
    read_text,
    read_word,
)
from strangler.ports import ExceptionEntry, ExceptionQuery, Note

_STATES = ("open", "closed", "all")
_NOBODY = "nobody"
_CURSOR = re.compile(r"(\d{1,16})-(\d{1,16})", re.ASCII)
_NUMBER = re.compile(r"[1-9]\d{0,17}", re.ASCII)

OUTCOME: dict[str, Schema] = {
    "status": {**LINE, "maxLength": 200, "description": "the domain's word, shown to the client"},
    "reason": {**LINE, "description": "shown to the client"},
    "effect": {**one_of(Effect), "description": "what the call did; else applied, none or unknown, by how it ended"},
    "evidence": {
        "type": "string",
        "minLength": 1,
        "maxLength": 10_000,
        "description": "how it is known; kept with the process, not shown to the client",
    },
}
"""What a person found out about the end of a process."""

TOLD_APART = ("reason", "evidence")
"""What of it is kept with the process alone."""

_MEMBERS = {"id": NUMBER, "kind": one_of(KINDS), "openedAt": INSTANT, "dueAt": INSTANT, "detail": TEXT}
_KNOWN = {
    "process": ID,
    "route": TEXT,
    "subject": TEXT,
    "owner": TEXT,
    "closedAt": INSTANT,
    "closedBy": TEXT,
    "action": TEXT,
}
ENTRY = an_object(_MEMBERS, _KNOWN)
NOTE = an_object({"at": INSTANT, "who": TEXT, "did": one_of(["claimed", "released", "noted", "closed"]), "text": TEXT})
WHOLE = an_object({**_MEMBERS, "notes": a_list(NOTE), "actions": a_list(one_of(Action))}, _KNOWN)

_MISSING = ("no-such-exception",)
_CHANGED = {200: Answered("As it is by now", WHOLE)}


def endpoints(desk: ExceptionDesk) -> tuple[Endpoint, ...]:
    """The endpoints of this module."""

    async def listed(asked: Asked) -> Told:
        query = _query(asked)
        found = await desk.page(query)
        counts = await desk.counts()
        document: dict[str, Any] = {
            "exceptions": [entry(one) for one in found],
            "open": {kind: counts.get(kind, 0) for kind in KINDS},
        }
        if len(found) == query.limit:
            document["cursor"] = f"{found[-1].due_at}-{found[-1].id}"
        return Done(document)

    return (
        Endpoint(
            method="GET",
            path="/exceptions",
            name="listExceptions",
            about="What people have to look at, the longest due first; what is closed, the newest first.",
            group="exceptions",
            handle=listed,
            parameters=_PARAMETERS,
            answers={
                200: Answered(
                    "A page, and how many are open of each kind; with a cursor there may be more",
                    an_object(
                        {"exceptions": a_list(ENTRY), "open": an_object(dict.fromkeys(KINDS, COUNT))}, {"cursor": TEXT}
                    ),
                )
            },
            problems=("store-unavailable",),
        ),
        *_one(desk),
        *_handling(desk),
    )


def _one(desk: ExceptionDesk) -> tuple[Endpoint, ...]:
    async def shown(asked: Asked) -> Told:
        number = _number(asked)
        return _told(await desk.one(number) if number is not None else None)

    async def resolved(asked: Asked) -> Told:
        body = asked.body
        effect = Effect(body["effect"]) if "effect" in body else None
        given = {name: body.get(name) for name in ("status", "reason", "evidence")}
        remedy = Remedy(action=Action(body["action"]), effect=effect, **given)
        return await _done(asked, lambda number: desk.resolve(number, remedy, asked.who, body["why"]))

    return (
        Endpoint(
            method="GET",
            path="/exceptions/{id}",
            name="getException",
            about="One exception with all that was done about it, and what may be done.",
            group="exceptions",
            handle=shown,
            answers={200: Answered("The exception", WHOLE)},
            problems=(*_MISSING, "store-unavailable"),
        ),
        Endpoint(
            method="POST",
            path="/exceptions/{id}/resolve",
            name="resolveException",
            about="Does something about an exception, which closes it; only what its `actions` say.",
            group="exceptions",
            role=Role.OPERATOR,
            handle=resolved,
            body={"action": one_of(Action), **OUTCOME},
            required=("action",),
            kept_apart=TOLD_APART,
            about_process=partial(_process_of, desk),
            answers=_CHANGED,
            problems=(*_MISSING, "not-resolvable", "store-unavailable"),
        ),
    )


def _handling(desk: ExceptionDesk) -> tuple[Endpoint, ...]:
    async def claimed(asked: Asked) -> Told:
        return await _done(asked, lambda number: desk.claim(number, asked.who))

    async def released(asked: Asked) -> Told:
        return await _done(asked, lambda number: desk.release(number, asked.who, asked.body["why"]))

    async def noted(asked: Asked) -> Told:
        return await _done(asked, lambda number: desk.note(number, asked.who, asked.body["text"]))

    def endpoint(verb: str, about: str, handle: Callable[[Asked], Awaitable[Told]], **more: Any) -> Endpoint:
        return Endpoint(
            method="POST",
            path=f"/exceptions/{{id}}/{verb}",
            name=f"{verb}Exception",
            about=about,
            group="exceptions",
            role=Role.OPERATOR,
            handle=handle,
            about_process=partial(_process_of, desk),
            answers=_CHANGED,
            problems=(*_MISSING, "not-resolvable", "store-unavailable"),
            **more,
        )

    return (
        endpoint("claim", "Makes an open exception the caller's own.", claimed, asks_why=False),
        endpoint("release", "Makes an exception nobody's.", released),
        endpoint(
            "note",
            "Adds a note to an exception, open or closed.",
            noted,
            asks_why=False,
            body={"text": {**LINE, "maxLength": 4000}},
            required=("text",),
            kept_apart=("text",),
        ),
    )


async def _done(asked: Asked, do: Callable[[int], Awaitable[Standing | Refused | None]]) -> Told:
    number = _number(asked)
    return _told(await do(number) if number is not None else None)


async def _process_of(desk: ExceptionDesk, asked: Asked) -> str | None:
    number = _number(asked)
    standing = await desk.one(number) if number is not None else None
    return standing.entry.process_id if standing is not None else None


def _told(standing: Standing | Refused | None) -> Told:
    match standing:
        case None:
            return Refusal("no-such-exception", "there is no exception of this number, or it went with its process")
        case Refused(why):
            return Refusal("not-resolvable", why)
        case Standing(one, notes, actions):
            return Done(
                {**entry(one), "notes": [_note(each) for each in notes], "actions": list(actions)},
                note=f"{one.kind}: {one.action}" if one.action is not None else None,
            )


def entry(one: ExceptionEntry) -> dict[str, Any]:
    """An exception as it is answered."""
    return {
        **views.exception(one),
        **views.known((("process", one.process_id), ("route", one.route or None))),
    }


def _note(note: Note) -> dict[str, Any]:
    return {"at": instant.to_text(note.at), "who": note.who, "did": note.did, "text": note.text}


# ── Reading what is asked ────────────────────────────────────────────────────────────────────────────────────────────


def _number(asked: Asked) -> int | None:
    """The number of an exception; what is none is that of none."""
    return int(asked.path["id"]) if _NUMBER.fullmatch(asked.path["id"]) else None


def _query(asked: Asked) -> ExceptionQuery:
    owner = asked.query.get("owner")
    return ExceptionQuery(
        asked.query.get("state", "open"),
        asked.query.get("kind", ()),
        "" if owner == _NOBODY else owner,
        asked.query.get("route"),
        asked.query.get("process"),
        None,
        asked.query.get("cursor"),
        asked.query.get("limit", ExceptionQuery().limit),
    )


def _read_kinds(value: str) -> tuple[str, ...]:
    read = read_word(KINDS)
    return tuple(read(word) for word in value.split(","))


def _read_cursor(value: str) -> tuple[int, int]:
    found = _CURSOR.fullmatch(value)
    if found is None:
        raise ValueError("expected the cursor of an earlier page")
    return int(found[1]), int(found[2])


_PARAMETERS = (
    Parameter(
        name="state", about="open ones, unless it says otherwise", schema=one_of(_STATES), read=read_word(_STATES)
    ),
    Parameter(
        name="kind", about=f"{', '.join(KINDS)}; several with commas between them", schema=TEXT, read=_read_kinds
    ),
    Parameter(name="owner", about=f"who looks after it; {_NOBODY}: nobody does", schema=TEXT, read=read_text()),
    Parameter(name="route", about="of its process", schema=TEXT, read=read_text()),
    Parameter(name="process", about="about one process", schema=ID, read=read_id),
    Parameter(name="limit", about="of a page", schema=LIMIT_SCHEMA, read=read_limit),
    Parameter(name="cursor", about="as the page before gave it", schema=TEXT, read=_read_cursor),
)
