"""``POST /drain`` and ``POST /undrain``: an instance takes nothing new for a while."""

from __future__ import annotations

from collections.abc import Callable

from strangler.operations.api.endpoint import Answered, Asked, Done, Endpoint, Role, Told
from strangler.operations.api.schemas import an_object, one_of

Set = Callable[[], None]


def endpoints(drain: Set, undrain: Set, phase: Callable[[], str]) -> tuple[Endpoint, ...]:
    """The endpoints of this module. ``phase``: see `Health.phase`."""

    async def drained(asked: Asked) -> Told:
        drain()
        return Done({"phase": phase()})

    async def undrained(asked: Asked) -> Told:
        undrain()
        return Done({"phase": phase()})

    answers = {200: Answered("As it is by now", an_object({"phase": one_of(["starting", "serving", "draining"])}))}
    return (
        Endpoint(
            method="POST",
            path="/drain",
            name="drainInstance",
            about="Not ready, and nothing new is accepted, until `/undrain` or a restart; what was accepted goes on.",
            group="instance",
            role=Role.OPERATOR,
            needs_record=False,
            handle=drained,
            answers=answers,
        ),
        Endpoint(
            method="POST",
            path="/undrain",
            name="undrainInstance",
            about="Takes new work again.",
            group="instance",
            role=Role.OPERATOR,
            needs_record=False,
            handle=undrained,
            answers=answers,
        ),
    )
