"""Who is paused, and what is held for it: nothing is sent, and nothing dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from strangler.domain.delivery import Delivery, DeliveryState, Hold, Release, apply, origin_of
from strangler.engine.instrument import Instrument
from strangler.ports import Clock, Closing, Commit, Deliveries, DeliveryQuery, DeliveryStep, ReceiverPause

_PAGE = 200  # deliveries that are held, or released, at a time


class Pauses:
    """The pauses as they are known here; the store has them too.

    Args:
        commit: commits a step; False where the delivery has gone on meanwhile.
        busy: whether a delivery is being sent.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        clock: Clock,
        instrument: Instrument,
        commit: Callable[[Commit], Awaitable[bool]],
        busy: Callable[[Delivery], bool],
    ) -> None:
        self._deliveries = deliveries
        self._clock = clock
        self._instrument = instrument
        self._commit = commit
        self._busy = busy
        self._known: dict[tuple[str, str | None], ReceiverPause] = {}

    async def load(self) -> None:
        """Learn from the store who is paused."""
        self._known = {(pause.receiver, pause.url): pause for pause in await self._deliveries.pauses()}

    def all(self) -> Sequence[ReceiverPause]:
        """Who is paused."""
        return [*self._known.values()]

    def of(self, delivery: Delivery) -> ReceiverPause | None:
        """Why a delivery may not be sent now; None: it may."""
        whole = self._known.get((delivery.receiver, None))
        return whole if whole is not None else self._known.get((delivery.receiver, delivery.url))

    async def pause(self, pause: ReceiverPause) -> None:
        """Pause somebody.

        Raises:
            StoreUnavailable: it is not paused.
        """
        await self._deliveries.pause(pause)
        await self.paused(pause)

    async def paused(self, pause: ReceiverPause) -> None:
        """A pause is on disk: hold what waits for the receiver."""
        note, origin = self._instrument.note, _shown(pause.url)
        note("receiver_paused", "warning", receiver=pause.receiver, origin=origin, who=pause.who)
        await self.hold(pause)

    async def resume(self, receiver: str, url: str | None, who: str, why: str) -> tuple[bool, set[str]]:
        """End a pause. Returns whether there was one, and what `release` does.

        Raises:
            StoreUnavailable: it is still paused, or some of what was for it is still held.
        """
        await self._deliveries.resume(receiver, url)
        known = self._known.pop((receiver, url), None) is not None
        self._instrument.note("receiver_resumed", receiver=receiver, origin=_shown(url))
        return known, await self.release(receiver, Closing(self._clock.now(), who, "redrive", why))

    async def hold(self, pause: ReceiverPause) -> None:
        """Somebody is paused: hold what waits for it."""
        self._known.setdefault((pause.receiver, pause.url), pause)
        await self._each(DeliveryQuery(pause.receiver, pause.url, (DeliveryState.PENDING,), limit=_PAGE), self._held)

    async def release(self, receiver: str | None, closes: Closing) -> set[str]:
        """Put back what is held although nobody is paused any more. Returns the lanes in which something is due now.

        Args:
            closes: how whatever asked for a person because of it is closed.
        """
        lanes: set[str] = set()

        def released(delivery: Delivery) -> Commit | None:
            if self.of(delivery) is not None:
                return None
            lanes.add(delivery.lane)
            after = apply(delivery, Release(), self._clock.now())
            return Commit(None, delivery=DeliveryStep(delivery, after, closes=closes))

        await self._each(DeliveryQuery(receiver, None, (DeliveryState.HELD,), limit=_PAGE), released)
        return lanes

    async def resettle(self) -> set[str]:
        """What was cut off in the middle of a pause, or of its end, is done to its end. Returns what `release` does."""
        for pause in self.all():
            await self.hold(pause)
        return await self.release(None, again(self._clock.now()))

    def _held(self, delivery: Delivery) -> Commit | None:
        pause = self.of(delivery)
        return held(delivery, pause, self._clock.now()) if pause is not None else None

    async def _each(self, query: DeliveryQuery, step: Callable[[Delivery], Commit | None]) -> None:
        """Take a step with every delivery of a list but those that are being sent."""
        while found := await self._deliveries.find(query):
            commits = [commit for one in found if not self._busy(one) and (commit := step(one)) is not None]
            await asyncio.gather(*map(self._commit, commits))
            if len(found) < query.limit:
                return
            query = query._replace(before=found[-1][:3])


def again(now: int) -> Closing:
    """How an exception about what is held is closed where nobody says why."""
    return Closing(now, "strangler", "mended", "its receiver is called again")


def held(delivery: Delivery, pause: ReceiverPause, now: int) -> Commit:
    """Hold a delivery because of a pause."""
    return Commit(None, delivery=DeliveryStep(delivery, apply(delivery, Hold(f"paused: {pause.why}"), now)))


def _shown(url: str | None) -> str | None:
    """As much of a URL as may be told: what follows its origin may be a secret of its owner."""
    return origin_of(url) if url is not None else None
