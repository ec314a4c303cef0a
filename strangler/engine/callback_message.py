"""What a delivery says: made of the process as it was at the version that is told, the same on every attempt."""

from __future__ import annotations

from collections.abc import Callable

from strangler.domain.delivery import Delivery
from strangler.domain.exchange import RecordedReply
from strangler.domain.process import Process
from strangler.domain.tracing import child
from strangler.engine.document import status_document
from strangler.engine.pauses import Pauses
from strangler.engine.queries import public_versions
from strangler.policy.callback_body import callback_body, callback_type
from strangler.policy.model import ProcessPolicy, Promise
from strangler.policy.receivers import Receiver
from strangler.ports import Message, ProcessStore


class Messages:
    """Makes what attempts send.

    Args:
        promise_of: the promise of a digest.
    """

    def __init__(self, store: ProcessStore, pauses: Pauses, promise_of: Callable[[str], Promise | None]) -> None:
        self._store = store
        self._pauses = pauses
        self._promise_of = promise_of

    async def of(self, receiver: Receiver, delivery: Delivery, told: Process | None, now: int) -> Message | None:
        """The message of an attempt that begins now; None: the process is forgotten, or the receiver has no URL.

        ``told`` is the process as it is told, where that is at hand: then it has not to be read.

        Raises:
            StoreUnavailable: the process cannot be read.
        """
        url = delivery.url if delivery.url is not None else receiver.url
        process = told if told is not None else await self._told(delivery)
        if process is None or url is None:
            return None
        promise = self._promise_of(process.promise)
        policy = promise.process if promise is not None else ProcessPolicy(type=process.type)
        kind = callback_type(process.type, delivery.told)
        reply = await self._reply(process) if receiver.payload == "result" else None
        shown = self._pauses.shown(process, delivery.created_at)
        # The client's key is nobody else's business.
        document = status_document(shown, policy, may_cancel=False, key=False)
        return Message(
            webhook_id=delivery.id,
            url=url,
            body=callback_body(kind, delivery.created_at, document, reply),
            attempt_at=now,
            type=kind,
            source=f"{process.base}{process.resource}",
            subject=process.id,
            occurred_at=delivery.created_at,
            correlation_id=process.correlation_id,
            traceparent=child(process.trace, f"callback-{delivery.id}-{delivery.tries + 1}") if process.trace else None,
            tracestate=process.trace_state,
        )

    async def _told(self, delivery: Delivery) -> Process | None:
        """The process as it was at the version that is told."""
        process = await self._store.process(delivery.process_id)
        if not isinstance(process, Process) or process.version == delivery.version:
            return process if isinstance(process, Process) else None
        for version in public_versions(await self._store.events(delivery.process_id)):
            if version.version == delivery.version:
                return version
        return None

    async def _reply(self, process: Process) -> RecordedReply | None:
        if not process.final or not process.has_result:
            return None
        found = await self._store.reply(process.id)
        return found[1] if found is not None else None
