"""``POST /processes/{id}/progress``: an operator, or the legacy system itself, says how far a process is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from strangler.domain import instant
from strangler.domain.process import Process, PublicState, Tombstone
from strangler.operations.api.endpoint import Answered, Asked, Done, Endpoint, Refusal, Role, Told
from strangler.operations.api.schemas import ID, INSTANT, LINE, NUMBER, TEXT, an_object, one_of

Tell = Callable[[str, str, str | None], Awaitable[Process | Tombstone | None]]
"""Process id, status and text; see `Commands.report`."""


def endpoint(tell: Tell) -> Endpoint:
    """The endpoint."""

    async def progress(asked: Asked) -> Told:
        found = await tell(asked.path["id"], asked.body["status"], asked.body.get("text"))
        match found:
            case None:
                return Refusal("no-such-process", "there is no process of this id")
            case Tombstone():
                return Refusal("no-longer-kept", "it ended, and its record is no longer kept")
            case Process() if found.final:
                return Refusal("process-ended", f"it is {found.state}, and stays so")
        return Done(document(found))

    return Endpoint(
        method="POST",
        path="/processes/{id}/progress",
        name="reportProgress",
        about="Says in the domain's words how far a process is; its history bears it, its state stays.",
        role=Role.OPERATOR,
        local=True,
        audited=False,  # it is an event of the process
        asks_why=False,
        handle=progress,
        body={"status": {**LINE, "maxLength": 200}, "text": LINE},
        required=("status",),
        answers={200: Answered("As its client sees it by now", PROGRESS)},
        problems=("no-such-process", "no-longer-kept", "process-ended", "store-unavailable"),
    )


PROGRESS = an_object(
    {"id": ID, "state": one_of(PublicState), "version": NUMBER, "updatedAt": INSTANT},
    {"status": TEXT, "reason": TEXT},
)


def document(process: Process) -> dict[str, Any]:
    """What is answered: the process as its client sees it by now."""
    told: dict[str, Any] = {
        "id": process.id,
        "state": process.public_state,
        "version": process.version,
        "updatedAt": instant.to_text(process.updated_at),
    }
    for name, value in (("status", process.status), ("reason", process.reason)):
        if value is not None:
            told[name] = value
    return told
