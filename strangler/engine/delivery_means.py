"""What delivering works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from strangler.engine.callback_message import Messages
from strangler.engine.instrument import Instrument
from strangler.policy.receivers import Receiver
from strangler.ports import CallbackSender, Clock, Deliveries, Ids, ProcessStore


class DeliveryMeans(NamedTuple):
    """What delivering works with."""

    store: ProcessStore
    deliveries: Deliveries
    sender: CallbackSender
    clock: Clock
    ids: Ids
    instrument: Instrument
    receivers: Callable[[], Mapping[str, Receiver]]  # of today's policy, by name
    messages: Messages
