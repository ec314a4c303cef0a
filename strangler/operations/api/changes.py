"""What an operator does to a process: withdraw it, try it again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from strangler.domain.process import Process, Tombstone
from strangler.engine.retrying import Gone, Obstacle
from strangler.operations.api import views
from strangler.operations.api.endpoint import Answered, Asked, Done, Endpoint, Refusal, Role, Told
from strangler.operations.api.schemas import TRUTH
from strangler.policy.model import Promise

Cancel = Callable[[Process], Awaitable[Process | None]]
Retry = Callable[[str, bool], Awaitable[Process | Obstacle | Gone]]
Find = Callable[[str], Awaitable[Process | Tombstone | None]]


def endpoints(
    find: Find, cancel: Cancel, retry: Retry, promise_of: Callable[[str], Promise | None]
) -> tuple[Endpoint, ...]:
    """The endpoints of this module; see `Commands.cancel` and `Retries.retry`."""

    async def cancelled(asked: Asked) -> Told:
        process = await find(asked.path["id"])
        if not isinstance(process, Process):
            return _gone(process)
        after = await cancel(process)
        if after is None:
            return Refusal(
                "not-cancellable", "it is with the legacy system, and nothing is promised that cannot be kept"
            )
        return Done(views.summary(after, promise_of(after.promise)), note=f"it is {after.state}")

    async def retried(asked: Asked) -> Told:
        match await retry(asked.path["id"], asked.body.get("force", False)):
            case Obstacle(why, forceable):
                return Refusal("not-retryable", f"{why}. {_FORCE if forceable else _NEVER}")
            case Gone(tombstone):
                return _gone(tombstone)
            case after:
                return Done(views.summary(after, promise_of(after.promise)), 201, f"as {after.id}")

    missing = ("no-such-process", "no-longer-kept")
    return (
        Endpoint(
            method="POST",
            path="/processes/{id}/cancel",
            name="cancelProcess",
            about="Withdraws a process that was not sent; one that has ended stays as it is.",
            role=Role.OPERATOR,
            handle=cancelled,
            answers={200: Answered("As it is by now", views.SUMMARY)},
            problems=(*missing, "not-cancellable"),
        ),
        Endpoint(
            method="POST",
            path="/processes/{id}/retry",
            name="retryProcess",
            about="Accepts the recorded request of a process that ended once more, as a new process with `parentId`.",
            role=Role.OPERATOR,
            handle=retried,
            body={"force": {**TRUTH, "description": "although it may have been done, or lacks credentials"}},
            answers={201: Answered("The new process", views.SUMMARY)},
            problems=(*missing, "not-retryable", "store-unavailable"),
        ),
    )


_FORCE = "Whoever knows better says force (--force)"
_NEVER = "This cannot be forced"


def _gone(found: Tombstone | None) -> Refusal:
    if found is None:
        return Refusal("no-such-process", "there is no process of this id")
    return Refusal("no-longer-kept", "it ended, and its record is no longer kept")
