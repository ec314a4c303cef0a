"""``POST /store/shed``: room is made by forgetting bodies of processes that have ended."""

from __future__ import annotations

from typing import Any

from strangler.operations.api.endpoint import Answered, Asked, Done, Endpoint, Parameter, Role, Told
from strangler.operations.api.schemas import COUNT, ID, Schema, an_object, read_id, read_number
from strangler.ports import Shed, Shedding

NAME = "shedBodies"
PATH = "/store/shed"
_MOST = 10**15
_FREE: Schema = {"type": "integer", "minimum": 1, "maximum": _MOST, "description": "bytes that are wanted"}
_SHED = an_object({"processes": COUNT, "bodyBytes": COUNT}, {"after": ID})


def endpoints(shedding: Shedding) -> tuple[Endpoint, ...]:
    """The endpoints of this module."""

    async def would(asked: Asked) -> Told:
        return Done(_shown(await shedding.sheddable(asked.query.get("after"), asked.query["free"])))

    async def shed(asked: Asked) -> Told:
        done = await shedding.shed(asked.body.get("after"), asked.body["free"])
        return Done(_shown(done), note=note_of(done))

    about = "bodies of processes that have ended, the oldest first; it works some seconds, and says where to go on"
    answers = {200: Answered("What went; with `after` there may be more behind that process", _SHED)}
    return (
        Endpoint(
            method="GET",
            path="/store/sheddable",
            name="showSheddable",
            about=f"What could be forgotten: {about}.",
            group="store",
            handle=would,
            parameters=(
                Parameter(name="free", about="bytes wanted", schema=_FREE, read=read_number(1, _MOST), required=True),
                Parameter(name="after", about="go on behind this process", schema=ID, read=read_id),
            ),
            answers=answers,
            problems=("store-unavailable",),
        ),
        Endpoint(
            method="POST",
            path=PATH,
            name=NAME,
            about=f"Forget {about}.",
            group="store",
            role=Role.OPERATOR,
            handle=shed,
            body={"free": _FREE, "after": ID},
            required=("free",),
            answers=answers,
            problems=("store-unavailable",),
        ),
    )


def note_of(shed: Shed) -> str:
    """What the audit log says of it."""
    return f"{shed.processes} processes, {shed.body_bytes} bytes"


def _shown(shed: Shed) -> dict[str, Any]:
    told: dict[str, Any] = {"processes": shed.processes, "bodyBytes": shed.body_bytes}
    if shed.after is not None:
        told["after"] = shed.after
    return told
