"""Receivers of every kind, and a server that is killed again and again: every delivery ends delivered, dead or held,
and none is lost.

``STRANGLER_DRILL=10000`` makes it the whole drill, ``STRANGLER_DRILL_KILLS=10`` kills that often, and
``STRANGLER_CHAOS_SEED`` replays a run.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing

import aiohttp
import pytest

from strangler.domain.delivery import Delivery, DeliveryState
from strangler.store.ledger import Ledger
from strangler.store.open import open_ledgers
from tests.chaos.called_back import Receivers, policy
from tests.harness.client import Client
from tests.harness.server import Server
from tests.harness.stage import Stage
from tests.harness.waiting import eventually, for_a_while

PROCESSES = int(os.environ.get("STRANGLER_DRILL", "300"))
KILLS = int(os.environ.get("STRANGLER_DRILL_KILLS", "4"))
WEIGHTS = {"takes": 50, "fails": 12, "hangs": 2, "resets": 8, "gone": 8, "twice": 8, "flaps": 10}
AT_ONCE = 16  # clients


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    async with AsyncExitStack() as stack:
        receivers = Receivers()
        await receivers.listen(stack)
        yield receivers


async def place(client: Client, marker: str, url: str) -> str:
    """Hand in one process with a callback, again until it is promised; its id."""
    while True:
        try:
            reply = await client.submit("/claims", marker, key=marker, headers={"X-Callback-Url": url})
        except (aiohttp.ClientError, OSError, TimeoutError):
            await for_a_while(0.05)
            continue
        if reply.status == 202:
            return str(reply.json()["id"])
        assert reply.status == 503, (reply.status, reply.body)
        await for_a_while(0.05)


async def kill_again_and_again(server: Server, dice: random.Random, over: asyncio.Event) -> int:
    """Kill and start it until all was handed in, and so many times at least."""
    kills = 0
    while kills < KILLS or not over.is_set():
        await for_a_while(dice.uniform(0.3, 1.5))
        await server.kill()
        await server.start()
        kills += 1
    return kills


def told(server: Server) -> list[Delivery]:
    """All deliveries of the store."""
    with open_ledgers(server.store) as ledgers:
        return [delivery for ledger in ledgers.all() if isinstance(ledger, Ledger) for delivery in ledger.deliveries]


def left(server: Server) -> int:
    """How many processes and deliveries have yet to end. Cheap: the receivers live in this OS process, too."""
    with closing(sqlite3.connect(f"file:{server.directory / 'store.db'}?mode=ro", uri=True)) as connection:
        open_processes = "SELECT count(*) FROM process WHERE finished_at IS NULL"
        ((count,),) = connection.execute(
            f"SELECT ({open_processes}) + (SELECT count(*) FROM delivery WHERE state = 'pending')"
        )
    return int(count)


@pytest.mark.slow
@pytest.mark.timeout(max(240, PROCESSES))
async def test_every_delivery_ends_whatever_its_receiver_and_the_power_do(stage: Stage, receivers: Receivers) -> None:
    seed = int(os.environ.get("STRANGLER_CHAOS_SEED") or random.randrange(2**32))
    print(f"STRANGLER_CHAOS_SEED={seed}")
    dice = random.Random(seed)
    legacy = await stage.legacy()
    server = stage.server(policy(legacy.url, receivers), options=["--public-url", "https://public.example"])
    await server.start()
    client = await stage.client(server)
    ways = dice.choices([*WEIGHTS], [*WEIGHTS.values()], k=PROCESSES)
    over, handed_in = asyncio.Event(), asyncio.Semaphore(AT_ONCE)
    way_of: dict[str, str] = {}

    async def one(number: int, way: str) -> None:
        async with handed_in:
            way_of[await place(client, f"m-{number}", receivers.url(way))] = way

    killing = asyncio.create_task(kill_again_and_again(server, dice, over))
    await asyncio.gather(*[one(number, way) for number, way in enumerate(ways)])
    over.set()
    kills = await killing
    assert kills >= KILLS

    await eventually(lambda: not left(server), within=60 + PROCESSES / 10, what="no delivery is pending any more")
    assert await server.stop() == 0
    deliveries = told(server)
    assert server.fsck().returncode == 0, server.fsck().stdout
    judge(deliveries, way_of, receivers)
    print(Counter((way_of[d.process_id] if d.receiver == "partners" else "ledger", d.state) for d in deliveries))
    print(f"{kills} kills, {len(deliveries)} deliveries, {sum(receivers.told.values())} calls")


def judge(deliveries: list[Delivery], way_of: dict[str, str], receivers: Receivers) -> None:
    """Compare what was promised, what the store says, and what came to the receivers."""
    assert {delivery.process_id for delivery in deliveries} == set(way_of)
    assert len(deliveries) == 2 * len(way_of)
    for delivery in deliveries:
        way = way_of[delivery.process_id] if delivery.receiver == "partners" else "takes"
        seen = f"{delivery} of {way}, which was told {receivers.told[delivery.id]} times"
        match way:
            case "takes" | "twice":
                assert delivery.state is DeliveryState.DELIVERED, seen
            case "flaps":
                assert delivery.state in (DeliveryState.DELIVERED, DeliveryState.DEAD), seen
            case "gone":
                assert delivery.state is DeliveryState.HELD, seen
            case _:
                assert delivery.state is DeliveryState.DEAD, seen
                assert receivers.told[delivery.id] >= 2, seen
        if delivery.state is DeliveryState.DELIVERED:
            assert delivery.id in receivers.taken, seen
        else:
            assert delivery.id not in receivers.taken or way == "flaps", seen
    # Nothing came that is not in the store.
    assert set(receivers.told) <= {delivery.id for delivery in deliveries}
