"""``GET /audit``: who commanded what, why, and what it came to."""

from __future__ import annotations

import json
from typing import Any

from strangler.domain import instant
from strangler.operations.api.endpoint import Answered, Asked, Done, Endpoint, Parameter, Told
from strangler.operations.api.schemas import (
    ID,
    INSTANT,
    LIMIT_SCHEMA,
    NUMBER,
    TEXT,
    a_list,
    an_object,
    read_id,
    read_limit,
    read_number,
    read_text,
)
from strangler.ports import Audit, AuditQuery, Recorded

GIVEN = {
    "type": "object",
    "description": "what else it was given; but what is kept with what it tells of, as evidence and notes are",
}
COMMAND = an_object(
    {"number": NUMBER, "at": INSTANT, "who": TEXT, "what": TEXT, "subject": TEXT},
    {"why": TEXT, "process": ID, "given": GIVEN, "endedAt": INSTANT, "outcome": TEXT, "detail": TEXT},
)


def endpoints(audit: Audit) -> tuple[Endpoint, ...]:
    """The endpoints of this module."""

    async def listed(asked: Asked) -> Told:
        query = AuditQuery(
            asked.query.get("cursor"),
            asked.query.get("who"),
            asked.query.get("what"),
            asked.query.get("process"),
            asked.query.get("limit", AuditQuery().limit),
        )
        found = await audit.commands(query)
        document: dict[str, Any] = {"commands": [shown(one) for one in found]}
        if len(found) == query.limit:
            document["cursor"] = str(found[-1].number)
        return Done(document)

    return (
        Endpoint(
            method="GET",
            path="/audit",
            name="listCommands",
            about="Who commanded what, why, and what it came to; the latest first.",
            group="audit",
            handle=listed,
            parameters=(
                Parameter(name="who", about="the name in the log, exactly", schema=TEXT, read=read_text()),
                Parameter(name="what", about="a command, as in cancelProcess", schema=TEXT, read=read_text()),
                Parameter(name="process", about="commands about one process", schema=ID, read=read_id),
                Parameter(name="limit", about="of a page", schema=LIMIT_SCHEMA, read=read_limit),
                Parameter(
                    name="cursor", about="as the page before gave it", schema=TEXT, read=read_number(1, 10**18 - 1)
                ),
            ),
            answers={
                200: Answered(
                    "A page; with a cursor there may be more",
                    an_object({"commands": a_list(COMMAND)}, {"cursor": TEXT}),
                )
            },
            problems=("store-unavailable",),
        ),
    )


def shown(recorded: Recorded) -> dict[str, Any]:
    """A command as it is answered."""
    command = recorded.command
    told: dict[str, Any] = {
        "number": recorded.number,
        "at": instant.to_text(command.at),
        "who": command.who,
        "what": command.what,
        "subject": command.subject,
    }
    for name, value in (
        ("why", command.why),
        ("process", command.process_id),
        ("given", None if command.given is None else json.loads(command.given)),
        ("endedAt", None if recorded.ended_at is None else instant.to_text(recorded.ended_at)),
        ("outcome", recorded.outcome),
        ("detail", recorded.detail),
    ):
        if value is not None:
            told[name] = value
    return told
