"""A process again: a new one with the recorded request of one that ended, for an operator who says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import RecordedRequest
from strangler.domain.process import Effect, Process, Tombstone
from strangler.domain.steps import Accept
from strangler.domain.tracing import child
from strangler.domain.transitions import apply
from strangler.engine.apart import Apart
from strangler.engine.notify import Notifier
from strangler.engine.outgoing import REQUEST_PART
from strangler.policy.model import Route
from strangler.ports import Bodies, Clock, Commit, Committed, Desk, Ids, ProcessStore, Search, StoreHealth

_WENT = "its client's credentials went when it ended: the legacy system would be called without them"
_MAY_HAVE_GONE = (
    "an older release accepted it, and did not keep whether its client gave credentials, which went when it ended: "
    "the legacy system would be called without any"
)


class Obstacle(NamedTuple):
    """Why it is not tried again."""

    why: str
    forceable: bool  # who knows better may have it tried all the same


class Gone(NamedTuple):
    """There is no such process, or only what is left of it."""

    tombstone: Tombstone | None


def obstacle(
    process: Process, request: RecordedRequest | None, route: Route | None, others: Sequence[Process] = ()
) -> Obstacle | None:
    """What stands in the way of trying a process again; None: nothing. What cannot be forced comes first.

    ``others`` bear the same request: what it was tried again as, and what it is itself another try of.
    """
    for one in (process, *others):
        if not one.final:
            what = "it is" if one is process else f"its request is also {one.id}, which is"
            return Obstacle(f"{what} {one.state} and has not ended: cancel it, or settle what is in doubt", False)
    if route is None:
        return Obstacle(f"the policy has no route {process.route} any more", False)
    if request is None or not request.body.kept:
        return Obstacle("the body of its request is no longer kept", False)
    risks = []
    for one in (process, *others):
        where = "" if one is process else f" as {one.id}"
        if one.effect is Effect.APPLIED:
            risks.append(f"the legacy system did it{where}: once more would be a second time")
        elif one.effect is not Effect.NONE:
            risks.append(f"nobody knows what it did in the legacy system{where}: once more could be a second time")
    if process.had_credentials is not False and not request.credentials and not _identifies_itself(route):
        risks.append(_WENT if process.had_credentials else _MAY_HAVE_GONE)
    return Obstacle("; ".join(risks), True) if risks else None


def _identifies_itself(route: Route) -> bool:
    """Whether calls of a route bear no credentials of clients, or ones of our own."""
    return route.call.credentials == "drop" or any(
        name.lower() in ("authorization", "cookie") for name, _ in route.call.set_headers
    )


class Retries:
    """Makes new processes of old ones.

    Args:
        revision: of the policy in force.
        wake: has whoever executes look at a route at an instant.
    """

    def __init__(
        self,
        store: ProcessStore,
        desk: Desk,
        bodies: Bodies,
        health: StoreHealth,
        notifier: Notifier,
        clock: Clock,
        ids: Ids,
        *,
        route_of: Callable[[str], Route | None],
        revision: Callable[[], str | None],
        wake: Callable[[str, int], None],
    ) -> None:
        self._store = store
        self._desk = desk
        self._bodies = bodies
        self._health = health
        self._notifier = notifier
        self._clock = clock
        self._ids = ids
        self._route_of = route_of
        self._revision = revision
        self._wake = wake
        self._apart = Apart()
        self._turn = asyncio.Lock()  # of two who ask for the same, the second one is told of the first

    async def retry(self, process_id: str, *, force: bool) -> Process | Obstacle | Gone:
        """Accept the recorded request of a process once more. Returns the new process, which waits for its claim.

        Raises:
            StoreUnavailable: the store cannot record it; nothing is done.
        """
        return await self._apart(self._in_turn(process_id, force))

    async def _in_turn(self, process_id: str, force: bool) -> Process | Obstacle | Gone:
        async with self._turn:
            return await self._retry(process_id, force)

    async def _retry(self, process_id: str, force: bool) -> Process | Obstacle | Gone:
        process = await self._store.process(process_id)
        if not isinstance(process, Process):
            return Gone(process)
        request, route = await self._store.request(process_id), self._route_of(process.route)
        stands = obstacle(process, request, route, await self._others_of(process))
        if stands is not None and not (force and stands.forceable):
            return stands
        if (reason := self._health.refusal()) is not None:
            raise StoreUnavailable(f"no new work is taken: {reason}")
        assert request is not None
        assert route is not None
        draft = again(process, route, self._ids.process_id(self._clock.now()), self._clock.now(), self._revision())
        await self._copy_body(request, process.id, draft.id)
        change = apply(None, Accept(draft, process.business_references), draft.created_at)
        verdict = await self._store.commit(Commit(change, request=request))
        assert isinstance(verdict, Committed)  # nobody else has the id
        self._notifier.committed(change)
        self._wake(change.process.route, change.process.created_at)
        return change.process

    async def _others_of(self, process: Process) -> Sequence[Process]:
        """All other processes with its request that are known to be: those of which it was made, and what was made of
        each, also where one between them is forgotten, for as long as a tombstone tells whose try that was."""
        kept, bearers, last = {process.id: process}, [process.id], process.parent_id
        while last is not None:
            bearers.append(last)
            parent = await self._store.process(last)
            if isinstance(parent, Process):
                kept[parent.id] = parent
            last = parent.parent_id if parent is not None else None
        for bearer in bearers:  # it grows meanwhile
            made = await self._made_of(bearer, kept[bearer].created_at if bearer in kept else None)
            kept.update({one.id: one for one in made})
            tries = [*(one.id for one in made), *await self._desk.forgotten_tries(bearer)]
            bearers += [one for one in tries if one not in bearers]
        return [one for one in kept.values() if one.id != process.id]

    async def _made_of(self, process_id: str, since: int | None) -> list[Process]:
        """What was made by trying a process of an instant again; an older release kept no index of it."""
        made: list[Process] = []
        search: Search | None = Search(parent_id=process_id, created_after=since)
        while search is not None:
            page = await self._desk.search(search)
            made += page.processes
            search = search._replace(before_id=page.before_id) if page.before_id is not None else None
        return made

    async def _copy_body(self, request: RecordedRequest, source: str, to: str) -> None:
        for index in range(request.body.chunks):
            data = await self._bodies.read_chunk(source, REQUEST_PART, index)
            await self._bodies.write_chunk(to, REQUEST_PART, index, data)


def again(process: Process, route: Route, process_id: str, now: int, revision: str | None) -> Process:
    """The accepted fields of a new process with the request of another, under today's promise.

    Its client is the same, and so are those who are called back. The idempotency key stays with the first one.
    """
    kept = route.process.kept
    return Process(
        id=process_id,
        route=route.name,
        type=route.process.type,
        promise=route.promise.digest,
        base=process.base,
        resource=route.process.resource,
        method=process.method,
        correlation_id=process.correlation_id,
        created_at=now,
        deadline_at=now + round(route.process.deadline * 1000),
        retain=kept.whole,
        retain_bodies=kept.bodies,
        retain_history=kept.history,
        retain_deliveries=kept.deliveries,
        had_credentials=process.had_credentials,
        promised=True,
        caller=process.caller,
        caller_name=process.caller_name,
        body_size=process.body_size,
        parent_id=process.id,
        revision=revision,
        trace=child(process.trace, f"retry-{process_id}") if process.trace is not None else None,
        trace_state=process.trace_state,
        subscriptions=process.subscriptions,
    )
