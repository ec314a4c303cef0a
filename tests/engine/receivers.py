"""Receivers for the tests of delivering: each answers by its script, and may be made to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from strangler.domain.delivery import Delivery, DeliveryState, Subscription, alone, write_subscriptions
from strangler.domain.process import Effect, Process, State
from strangler.domain.retry import Backoff
from strangler.domain.steps import Accept, Claim, Finish, Result
from strangler.domain.transitions import Change, apply
from strangler.engine.callback_message import Messages
from strangler.engine.deliver import Deliverer
from strangler.engine.delivery_means import DeliveryMeans
from strangler.engine.pauses import Pauses
from strangler.engine.redrive import Redriver
from strangler.policy.callback_url import parse_allowed_origin
from strangler.policy.receivers import Receiver
from strangler.ports import (
    Answered,
    Commit,
    Committed,
    DeliveryQuery,
    End,
    Message,
    Ours,
    ReceiverPause,
    Reception,
    Unreached,
)
from tests.engine.world import NOON, FakeClock, FakeIds, FlakyStore, Silent

OK = Answered(status=200, retry_after=None, head=b"thanks", address="192.0.2.1", duration=3)
REFUSED = Unreached(reason="the connection was refused", address="192.0.2.1", duration=1)
NO_DESCRIPTOR = Ours(reason="too many open files", duration=0)
FIVE_SECONDS = Backoff(initial=5.0, factor=5.0, max=3600.0, jitter="none")

TO_A = Subscription("broker-a")
TO_B = Subscription("broker-b")
PAUSE = ReceiverPause("broker-a", None, NOON, "ann", "they move house")


def named(host: str, path: str = "/hook") -> Subscription:
    """A URL that a caller of the receiver `partners` names."""
    return Subscription("partners", f"https://{host}.partner.example{path}")


Script = Reception | Callable[[Message], Any]


def answer(status: int, retry_after: int | None = None) -> Answered:
    return Answered(status=status, retry_after=retry_after, head=b"", address="192.0.2.1", duration=3)


class Gate:
    """A receiver that answers when it is told to."""

    def __init__(self, reception: Reception = OK) -> None:
        self.reception = reception
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        self.waiting = 0
        self.most = 0

    async def __call__(self, message: Message) -> Reception:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        self.reached.set()
        try:
            await self.open.wait()
        finally:
            self.waiting -= 1
        return self.reception


class FakeSender:
    """A `CallbackSender` that answers by script: by receiver, or by URL; the last entry again and again."""

    def __init__(self) -> None:
        self.scripts: dict[str, list[Script]] = {}
        self.sent: list[tuple[str, Message]] = []

    async def send(self, receiver: Receiver, message: Message) -> Reception:
        self.sent.append((receiver.name, message))
        await asyncio.sleep(0)  # no answer comes before others were asked
        script = self.scripts.get(message.url) or self.scripts.get(receiver.name) or [OK]
        step = script.pop(0) if len(script) > 1 else script[0]
        return await step(message) if callable(step) else step

    async def close(self) -> None:
        pass

    def to(self, receiver: str) -> list[Message]:
        """What was sent to a receiver."""
        return [message for name, message in self.sent if name == receiver]


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-01"


class Telling:
    """Delivering, whole, over a store in memory.

    Args:
        here: whether changes are committed in the same OS process, as with one worker; else only lanes are told.
        worker: a worker commits them, and hands over what it made.
    """

    def __init__(self, *, here: bool = True, worker: bool = False) -> None:
        self.here = here
        self.worker = worker
        self.clock = FakeClock()
        self.store = FlakyStore()
        self.ids = FakeIds()
        self.pauses = Pauses()
        self.receivers: dict[str, Receiver] = {}
        self.restart()

    def restart(self) -> None:
        """A new server over the same store; the old one is forgotten as it stands."""
        self.sender = FakeSender()
        self.instrument = Silent()
        self.deliverer = Deliverer(
            DeliveryMeans(
                store=self.store,
                deliveries=self.store.deliveries,
                sender=self.sender,
                clock=self.clock,
                ids=self.ids,
                instrument=self.instrument,
                receivers=self._receivers,
                messages=Messages(self.store, self.pauses, lambda digest: None),
            )
        )
        self.redriver = Redriver(self.store.deliveries, self.deliverer, self.clock)

    def _receivers(self) -> Mapping[str, Receiver]:
        return self.receivers

    def receiver(self, name: str = "broker-a", **fields: Any) -> Receiver:
        """Put a receiver into the policy."""
        given: dict[str, Any] = {"url": f"https://{name}.example/hook", "backoff": FIVE_SECONDS, "attempts": 3}
        receiver = Receiver(name=name, **{**given, **fields})
        self.receivers[name] = receiver
        return receiver

    def partners(self, **fields: Any) -> Receiver:
        """Put a receiver into the policy whose callers name the URL."""
        allow = (parse_allowed_origin("https://*.partner.example"),)
        return self.receiver("partners", url=None, allow=allow, **fields)

    async def process(self, *subscriptions: Subscription, **finish: Any) -> Process:
        """A process that has just ended, committed; who is to be told of it is told so."""
        return (await self.processes(1, *subscriptions, **finish))[0]

    async def processes(self, number: int, *subscriptions: Subscription, **finish: Any) -> list[Process]:
        """So many of them."""
        made = []
        for _ in range(number):
            change = apply(None, Accept(self._draft(subscriptions)), self.clock.now()).then(
                Claim("w"), self.clock.now()
            )
            ending = Finish(State.COMPLETED, Effect.APPLIED, result=Result(200, "text/plain", 2, True))
            change = change.then(ending, self.clock.now())
            end = End(None, self.clock.now() + 1000)
            assert await self.store.commit(Commit(change, end=end, **finish)) == Committed()
            self.committed(change)
            made.append(change.process)
        return made

    def committed(self, change: Change) -> None:
        """Tell the deliverer of a commit."""
        if self.worker and self.here:
            for delivery in change.deliveries:
                self.deliverer.made(delivery, alone(delivery, change.process))
        elif self.here:
            self.deliverer.raised(change)
        else:
            self.deliverer.told([delivery.lane for delivery in change.deliveries])

    def _draft(self, subscriptions: tuple[Subscription, ...]) -> Process:
        now = self.clock.now()
        return Process(
            id=self.ids.process_id(now),
            route="submit-claim",
            type="ClaimSubmission",
            promise="p" * 64,
            base="https://public.example",
            resource="/claims",
            method="POST",
            correlation_id="c-1",
            trace=TRACE,
            trace_state="congo=1",
            created_at=now,
            deadline_at=now + 1000,
            retain=1000,
            promised=True,
            key="secret-key",
            subscriptions=write_subscriptions(subscriptions or [Subscription("broker-a")]),
        )

    async def all(self, *states: DeliveryState) -> list[Delivery]:
        """All deliveries in some states, the oldest first."""
        return [*reversed(await self.store.deliveries.find(DeliveryQuery(states=states, limit=10_000)))]

    async def one(self, process: Process) -> Delivery:
        """The only delivery of a process."""
        (found,) = await self.store.deliveries.find(DeliveryQuery(process_id=process.id))
        return found

    async def until(self, holds: Callable[[], Any]) -> None:
        """Let the loop turn until something holds."""
        async with asyncio.timeout(5):
            while not (value := holds()) or (asyncio.iscoroutine(value) and not await value):
                await asyncio.sleep(0)

    async def settled(self) -> None:
        """Let the loop turn until nothing is under way any more."""
        async with asyncio.timeout(5):
            while self.deliverer._tasks:
                await asyncio.sleep(0)

    async def pass_(self, seconds: float) -> None:
        """Let time pass, and look."""
        self.clock.pass_(seconds)
        await self.deliverer.look()
        await self.settled()
