"""Telling receivers, put together: exactly one OS process of a server does it, the one that owns the store."""

from __future__ import annotations

from strangler.channels.callbacks.sender import HttpCallbackSender
from strangler.config.system import SystemIds
from strangler.engine.callback_message import Messages
from strangler.engine.deliver import Deliverer
from strangler.engine.delivery_means import DeliveryMeans
from strangler.engine.pauses import Pauses
from strangler.engine.redrive import Redriver
from strangler.operations.telemetry import Telemetry
from strangler.ports import Clock
from strangler.runtime.policies import PolicyInForce
from strangler.store import Store

_LAST_CALLBACKS = 5.0  # seconds for those that are on their way when the server goes; what is cut off is sent again


class Telling:
    """Made on a running loop. Nothing is sent before `begin`."""

    def __init__(
        self, store: Store, policies: PolicyInForce, clock: Clock, pauses: Pauses, telemetry: Telemetry
    ) -> None:
        self._sender = HttpCallbackSender()
        self._telemetry = telemetry
        self.deliverer = Deliverer(
            DeliveryMeans(
                store=store,
                deliveries=store.deliveries,
                sender=self._sender,
                clock=clock,
                ids=SystemIds(),
                instrument=telemetry,
                receivers=policies.receivers,
                messages=Messages(store, pauses, policies.promise_of),
            )
        )
        self.redriver = Redriver(store.deliveries, self.deliverer, clock)
        telemetry.watch_deliveries(lambda: self.deliverer.totals)

    async def begin(self) -> None:
        """Send what is due, and look again now and then.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        await self.deliverer.begin()

    async def drain(self) -> None:
        """Begin nothing more; what is on its way has a little time to arrive."""
        cut_off = await self.deliverer.drain(_LAST_CALLBACKS)
        if cut_off:
            self._telemetry.note("callbacks_cut_off", "warning", callbacks=cut_off)

    async def close(self) -> None:
        """Send nothing more, at once, and close all connections."""
        await self.deliverer.drain(0.0)
        await self._sender.close()
