"""Putting deliveries back: one, many by filter, all since an instant. The receiver sees the same name again."""

from __future__ import annotations

import asyncio

from strangler.domain.delivery import TABLE, Delivery, Redrive, apply
from strangler.engine.deliver import Deliverer
from strangler.ports import Clock, Closing, Commit, Deliveries, DeliveryKey, DeliveryQuery, DeliveryStep

_PAGE = 200


class Redriver:
    """Commands of operators over deliveries. Every method may raise `StoreUnavailable`; what was put back before stays
    so."""

    def __init__(self, deliveries: Deliveries, deliverer: Deliverer, clock: Clock) -> None:
        self._deliveries = deliveries
        self._deliverer = deliverer
        self._clock = clock

    async def one(self, key: DeliveryKey, who: str, why: str) -> Delivery | None:
        """Put one back; whatever had ended, or waits for its next attempt, is sent at once.

        Returns it as it is then: what is held stays held, what is being sent is being sent. None: there is none.
        """
        found = await self._deliveries.log(key)
        if found is None:
            return None
        delivery, _ = found
        commit = self._back(delivery, who, why)
        if commit is None or commit.delivery is None:
            return delivery
        if not await self._deliverer.commit(commit):
            return await self.one(key, who, why)  # it went on meanwhile
        self._deliverer.call_again((delivery.lane,))
        return commit.delivery.after

    async def many(self, query: DeliveryQuery, who: str, why: str) -> int:
        """Put back all of a list, however long it is. Returns how many.

        Unlike `one` it ends no rest that a receiver asked for: so many are not sent against a word of `Retry-After`.
        """
        query = query._replace(limit=_PAGE)
        count = 0
        while found := await self._deliveries.find(query):
            commits = [commit for one in found if (commit := self._back(one, who, why)) is not None]
            count += sum(await asyncio.gather(*map(self._deliverer.commit, commits)))
            self._deliverer.told({one.lane for one in found})
            if len(found) < _PAGE:
                break
            query = query._replace(before=found[-1][:3])
        return count

    def _back(self, delivery: Delivery, who: str, why: str) -> Commit | None:
        if Redrive not in TABLE[delivery.state] or self._deliverer.busy(delivery):
            return None
        now = self._clock.now()
        closes = Closing(now, who, "redrive", why)
        return Commit(None, delivery=DeliveryStep(delivery, apply(delivery, Redrive(), now), closes=closes))
