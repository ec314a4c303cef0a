"""What the rooms of the engine work with, in one value."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from strangler.engine.instrument import Instrument
from strangler.engine.lease import LeaseKeeper
from strangler.engine.pauses import Pauses
from strangler.policy.model import Promise, Route
from strangler.ports import Bodies, Clock, Ids, ProcessStore, StoreHealth, Upkeep, UpstreamCaller


class Means(NamedTuple):
    """The ports, and where today's policy is to be had."""

    store: ProcessStore
    bodies: Bodies
    upkeep: Upkeep
    health: StoreHealth
    upstream: UpstreamCaller
    clock: Clock
    ids: Ids
    instrument: Instrument
    lease: LeaseKeeper
    pauses: Pauses
    route_of: Callable[[str], Route | None]  # of today's table, by name
    promise_of: Callable[[str], Promise | None]  # by digest
