"""Business references of a process: found in its request when it is accepted, and in its reply when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from strangler.domain.exchange import RecordedRequest
from strangler.domain.process import Process
from strangler.domain.steps import Finish, Transition
from strangler.engine.aside import beside
from strangler.engine.intake import whole_body
from strangler.engine.recorder import Recorder
from strangler.engine.translating import process_values
from strangler.policy.documents import Asked, weight
from strangler.policy.references import References, merged
from strangler.policy.translate import Reply
from strangler.ports import Bodies

_Some = TypeVar("_Some", bound=Transition)


async def found_in_request(
    bodies: Bodies, references: References, process: Process, recorded: RecordedRequest
) -> str | None:
    """The references of a request, JSON: {name: text}; None: there is none."""
    asked = await _asked(bodies, process, recorded, reads=references.reads_request)
    size = weight(len(asked.data), asked.headers)
    found = await beside(partial(references.of_request, asked), size, hooks=False)
    return merged(None, found)


async def found_in_reply(
    bodies: Bodies, references: References, process: Process, recorded: RecordedRequest, recorder: Recorder
) -> dict[str, str]:
    """The references of a whole reply, as the legacy system gave it, which ``references`` ask for."""
    if recorder.too_large:
        return {}
    asked = await _asked(bodies, process, recorded, reads=references.reads_request_again)
    reply = Reply(*recorder.original) if recorder.original is not None else None
    if reply is None:
        reply = Reply(recorder.status, recorder.headers, await recorder.whole())
    size = weight(len(asked.data), asked.headers) + weight(len(reply.data or b""), reply.headers)
    return await beside(partial(references.of_reply, asked, reply), size, hooks=False)


def ended_with(process: Process, transitions: Sequence[_Some], found: dict[str, str]) -> tuple[_Some, ...]:
    """The transitions; an end bears what was found."""
    if not found:
        return tuple(transitions)
    told = merged(process.business_references, found)
    return tuple(replace(one, business_references=told) if isinstance(one, Finish) else one for one in transitions)


async def _asked(bodies: Bodies, process: Process, recorded: RecordedRequest, *, reads: bool) -> Asked:
    data = await whole_body(recorded.body, bodies, process.id) if reads and recorded.body.kept else b""
    return Asked(
        recorded.method,
        recorded.target,
        list(recorded.headers),
        data,
        process.caller_name,
        process_values(process),
    )
