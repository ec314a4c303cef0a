"""A person settles a process in doubt: says how it ended, or has the call made again."""

from __future__ import annotations

from collections.abc import Callable

from strangler.domain.process import Effect, Process, State, Tombstone
from strangler.engine.resolving import Resolution, Resolved, Resolving, Unsettled
from strangler.operations.api import views
from strangler.operations.api.endpoint import Answered, Asked, Done, Endpoint, Refusal, Role, Told
from strangler.operations.api.exceptions import OUTCOME, TOLD_APART
from strangler.operations.api.schemas import one_of
from strangler.policy.model import Promise

_ENDS = (State.COMPLETED, State.REJECTED, State.FAILED)


def endpoints(resolving: Resolving, promise_of: Callable[[str], Promise | None]) -> tuple[Endpoint, ...]:
    """The endpoints of this module."""

    def told(after: Resolved) -> Told:
        match after:
            case None:
                return Refusal("no-such-process", "there is no process of this id")
            case Tombstone():
                return Refusal("no-longer-kept", "it ended, and its record is no longer kept")
            case Unsettled(_, why):
                return Refusal("not-resolvable", why)
            case Process():
                return Done(views.summary(after, promise_of(after.promise)), note=f"it is {after.state}")

    async def resolved(asked: Asked) -> Told:
        body = asked.body
        resolution = Resolution(
            state=State(body["as"]),
            effect=Effect(body["effect"]) if "effect" in body else None,
            status=body.get("status"),
            reason=body.get("reason"),
            evidence=body.get("evidence"),
        )
        return told(await resolving.end(asked.path["id"], resolution, asked.who, body["why"]))

    async def repeated(asked: Asked) -> Told:
        return told(await resolving.repeat(asked.path["id"], asked.who, asked.body["why"]))

    answers = {200: Answered("As it is by now", views.SUMMARY)}
    problems = ("no-such-process", "no-longer-kept", "not-resolvable", "store-unavailable")
    return (
        Endpoint(
            method="POST",
            path="/processes/{id}/resolve",
            name="resolveProcess",
            about="Says how a process ended of which nobody knows what it did, or that is still to be sent and on "
            "hold; its exceptions are closed with it.",
            role=Role.OPERATOR,
            handle=resolved,
            body={"as": one_of(_ENDS), **OUTCOME},
            required=("as",),
            kept_apart=TOLD_APART,
            answers=answers,
            problems=problems,
        ),
        Endpoint(
            method="POST",
            path="/processes/{id}/repeat",
            name="repeatProcess",
            about="Has the call of a process in doubt made again: it surely did not happen.",
            role=Role.OPERATOR,
            handle=repeated,
            answers=answers,
            problems=problems,
        ),
    )
