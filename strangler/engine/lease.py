"""The lease under which this worker sends: renewed in time, looked at immediately before a first byte leaves.

A worker that was frozen past its lease finds it run out when it thaws, and does not send. The clock is read before the
store is asked, so that what we trust is never longer than what the store was told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from strangler.domain.errors import StoreUnavailable
from strangler.engine.instrument import Instrument
from strangler.ports import Clock, Lease, Upkeep

_NANOSECONDS = 1_000_000_000


class LeaseKeeper:
    """Holds and renews the lease of one incarnation of a worker.

    Args:
        owner: a new UUID each start.
        length: seconds a lease lasts; it is renewed every third of that. Sending stops two fifteenths before its end
            (2 s of the usual 15).
        on_term: told when a term begins: whatever was lent to the lease before it is lent no longer.
    """

    def __init__(
        self,
        owner: str,
        length: float,
        upkeep: Upkeep,
        clock: Clock,
        instrument: Instrument,
        on_term: Callable[[], None] | None = None,
    ) -> None:
        self.owner = owner
        self.length = length
        self._upkeep = upkeep
        self._clock = clock
        self._instrument = instrument
        self._on_term = on_term
        self.term = 0
        self._until = 0  # nanoseconds of CLOCK_BOOTTIME
        self._send_until = 0

    def holds(self) -> bool:
        """Whether a first byte might leave now."""
        return self._clock.boottime() < self._send_until

    def may_send(self, term: int) -> bool:
        """Whether the first byte of a call that was claimed in ``term`` may leave now.

        A lease that ran out and was taken anew is another term: in between, somebody else may have given the call up.
        """
        return term == self.term and self._clock.boottime() < self._send_until

    async def renew(self) -> None:
        """Take the lease, or prolong it.

        Raises:
            StoreUnavailable: the store did not record it; the old one runs on.
        """
        now = self._clock.boottime()
        until = now + round(self.length * _NANOSECONDS)
        since = await self._upkeep.renew(Lease(self.owner, self._clock.boot_id, until))
        # Who was frozen before it read the answer lost nothing by that: nobody gives up what was renewed in time.
        if (since if since is not None else self._clock.boottime()) >= self._until:
            self.term += 1
            if self._on_term is not None:
                self._on_term()
        self._until = until
        self._send_until = until - round(self.length * _NANOSECONDS * 2 / 15)

    async def keep(self) -> None:
        """Renew for ever."""
        while True:
            await asyncio.sleep(self.length / 3)
            try:
                await self.renew()
            except StoreUnavailable as error:
                self._instrument.note("lease_not_renewed", "error", reason=str(error))
            except Exception as error:
                # A defect in one renewal must not end all later ones.
                self._instrument.failed("lease", error)

    async def resign(self) -> None:
        """Give the lease back: nothing is sent any more, and nobody has to wait for it to run out."""
        self._until = self._send_until = 0
        await self._upkeep.resign(self.owner)
