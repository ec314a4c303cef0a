"""Kill and freeze the server, or one of its children, at random, and compare three ledgers: what clients were promised,
what the store says, and what the legacy system saw.

``STRANGLER_CHAOS_SEED`` replays a run, ``STRANGLER_CHAOS_ROUNDS`` makes it longer.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp
import pytest

from tests.chaos.policies import of_all_kinds
from tests.harness.client import SETTLED, Client, Reply
from tests.harness.legacy import Legacy
from tests.harness.server import Server
from tests.harness.stage import Stage
from tests.harness.waiting import eventually, for_a_while
from tests.runtime.crew import Crew, alive

LEASE = 5.0  # seconds, the shortest that is taken
NO_ANSWER = (aiohttp.ClientError, OSError, TimeoutError)
UNSAFE = ("review", "fail", "compat")  # a route whose calls may never be repeated
VICTIMS = ("all", "worker", "worker", "store", "frozen worker", "frozen store")

Trouble = Callable[[random.Random, int], Awaitable[None]]
"""One crash or one freeze, in the round of this number."""


@dataclass(frozen=True)
class Order:
    """One thing that a client wants done."""

    marker: str
    route: str
    script: str
    key: str | None
    start: float  # seconds into its round

    @property
    def refused(self) -> bool:
        """Whether the legacy system will say no."""
        return "status=404" in self.script


def orders(dice: random.Random, number: int) -> list[Order]:
    """What the clients of one round are going to ask for."""
    made = []
    for index in range(dice.randint(10, 25)):
        route = dice.choice(["review", "retry", "fail", "query", "compat"])
        keyed = route != "query" and dice.random() < 0.5
        # A key is released by a refusal (nothing happened), so that its repeat is a second call by right.
        statuses = ["200", "200", "201", "500"] if keyed else ["200", "200", "404", "500"]
        ending = dice.choices(["", " do=close", " do=half", " do=reset"], [20, 1, 1, 1])[0]
        marker = f"{number:03}-{index:02}-{route}"
        script = f"delay={dice.uniform(0, 0.3):.3f} status={dice.choice(statuses)}{ending}"
        made.append(Order(marker, route, script, marker if keyed else None, dice.uniform(0, 0.4)))
    return made


async def place(client: Client, order: Order, over: asyncio.Event) -> Reply | None:
    """Send an order; one with a key is sent again, after the trouble, until it is answered."""
    await for_a_while(order.start)
    method = "GET" if order.route == "query" else "POST"
    while True:
        try:
            reply = await client.submit(
                f"/{order.route}", order.marker, method=method, script=order.script, key=order.key
            )
        except NO_ANSWER:
            if order.key is None:
                return None
        else:
            if reply.status != 503 or order.key is None:
                return reply
        await over.wait()
        await for_a_while(0.05)


def of_one(server: Server) -> Trouble:
    """A server of one process is killed and started again, or frozen for longer than its lease."""

    async def trouble(dice: random.Random, number: int) -> None:
        # Every fifth is a freeze: it costs a lease, a kill costs a start.
        if number % 5 != 4:
            await server.kill()
            await server.start()
        else:
            server.freeze()
            await for_a_while(LEASE + dice.uniform(0.1, 0.5))
            server.thaw()
            await server.ready()

    return trouble


def of_orders(server: Server) -> Trouble:
    """A server is told to end, and started again."""

    async def trouble(dice: random.Random, number: int) -> None:
        assert await server.stop() == 0
        await server.start()

    return trouble


def of_several(crew: Crew) -> Trouble:
    """A worker or the store process is killed and replaced, or frozen; or the supervisor is killed, and all with it."""

    async def trouble(dice: random.Random, number: int) -> None:
        victim = VICTIMS[number % len(VICTIMS)]
        if victim == "all":
            children = [*crew.workers, crew.store]
            await crew.server.kill()
            await eventually(lambda: not any(map(alive, children)), what="nobody is left behind")
            await crew.server.start()
        else:
            child = crew.store if victim.endswith("store") else dice.choice(crew.workers)
            if victim.startswith("frozen"):
                os.kill(child, signal.SIGSTOP)
                await for_a_while(LEASE + dice.uniform(0.1, 0.5))
                os.kill(child, signal.SIGCONT)
            else:
                os.kill(child, signal.SIGKILL)
        await crew.two_workers()

    return trouble


async def play(client: Client, dice: random.Random, number: int, trouble: Trouble) -> list[tuple[Order, Reply | None]]:
    """One round: what was ordered, and what came of it."""
    over = asyncio.Event()
    made = orders(dice, number)
    placed = [asyncio.create_task(place(client, order, over)) for order in made]
    try:
        await for_a_while(dice.uniform(0.02, 0.7))
        await trouble(dice, number)
        over.set()
        replies = await asyncio.gather(*placed)
    finally:
        for task in placed:
            task.cancel()
        await asyncio.gather(*placed, return_exceptions=True)
    return list(zip(made, replies, strict=True))


def judge(order: Order, document: dict[str, object], calls: int) -> str | None:
    """What is wrong with the end of one process, as far as its order and the legacy system's ledger tell."""
    state, effect = document["state"], document.get("effect")
    if state not in SETTLED:
        return f"is neither final nor unconfirmed but {state}"
    if order.route in UNSAFE and calls > 1:
        return f"reached the legacy system {calls} times"
    if calls > 3:
        return f"reached the legacy system {calls} times, which is more than its attempts"
    if state == "completed" and (calls == 0 or effect != "applied" or order.refused):
        return f"is completed with effect {effect} after {calls} calls"
    if effect == "none" and calls > 0 and not order.refused:
        return f"is said to have had no effect, after {calls} calls"
    if state in ("expired", "cancelled"):
        return f"is {state}"
    if state == "unconfirmed" and order.route == "fail":
        return "waits for a person, where the policy says: fail"
    return None


async def compare(client: Client, legacy: Legacy, placed: list[tuple[Order, Reply | None]]) -> Counter[str]:
    """All three ledgers; how the processes ended."""
    for identity in client.promises.values():
        await client.settled(identity)
    by_marker = {order.marker: order for order, _ in placed}
    stored: dict[str, dict[str, object]] = {}
    wrong = []
    for listed in await client.all_processes():
        marker, document = str(listed["correlationId"]), await client.settled(str(listed["id"]))
        before = stored.get(marker)
        if before is None or by_marker[marker].key is None:
            stored[marker] = document
        elif before.get("effect") == "none":
            stored[marker] = document  # after a try that surely did nothing its key is free, and a repeat is another
        elif document.get("effect") != "none":
            wrong.append(f"{marker}: one key, two processes")
    calls = legacy.calls()
    for marker, identity in client.promises.items():
        if marker not in stored or stored[marker]["id"] != identity:
            wrong.append(f"{marker}: promised as {identity}, and not in the store")
    for order, reply in placed:
        if order.key is None and reply is not None and reply.status == 503 and calls[order.marker]:
            wrong.append(f"{order.marker}: reached the legacy system, and its client was told {reply.body!r}")
    for marker in calls:
        if marker not in stored:
            wrong.append(f"{marker}: reached the legacy system and is in no record")
    for marker, document in stored.items():
        complaint = judge(by_marker[marker], document, calls[marker])
        if complaint is not None:
            wrong.append(f"{marker}: {complaint}: {by_marker[marker].script}: {document}")
    assert not wrong, "\n".join(wrong)
    return Counter(f"{document['state']}/{document.get('effect')}" for document in stored.values())


async def run(
    legacy: Legacy, server: Server, client: Client, trouble: Trouble, rounds: int, record: Callable[[str, object], None]
) -> None:
    """Round after round; then all that can be compared."""
    seed = int(os.environ.get("STRANGLER_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
    rounds = int(os.environ.get("STRANGLER_CHAOS_ROUNDS", rounds))
    print(f"STRANGLER_CHAOS_SEED={seed}")
    record("seed", seed)
    dice = random.Random(seed)
    placed: list[tuple[Order, Reply | None]] = []
    for number in range(rounds):
        placed += await play(client, dice, number, trouble)
    ends = await compare(client, legacy, placed)
    print(f"{rounds} rounds, {len(placed)} orders, {len(client.promises)} promises, {dict(ends)}")
    assert ends["completed/applied"] > len(placed) / 4, f"too little went well to show anything: {ends}"
    assert await server.stop() == 0
    checked = server.fsck()
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_whatever_kills_or_freezes_it_nothing_promised_is_lost_and_nothing_unsafe_is_sent_twice(
    stage: Stage, record_property: Callable[[str, object], None]
) -> None:
    legacy = await stage.legacy()
    server = stage.server(of_all_kinds(legacy.url), environment={"STRANGLER_LEASE": f"{LEASE:g}s"})
    client = await stage.client(server)
    await server.start()
    await run(legacy, server, client, of_one(server), 32, record_property)
    said = server.log.read_text()
    assert '"level":"error"' not in said, "nothing that happened here is a defect, or takes the store by surprise"
    assert '"event":"recovered"' in said


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_whichever_of_several_processes_is_killed_or_frozen_the_same_holds(
    crew: Crew, record_property: Callable[[str, object], None]
) -> None:
    crew.legacy = await crew.stage.legacy()
    crew.server = crew.stage.server(
        of_all_kinds(crew.legacy.url), options=["--workers", "2"], environment={"STRANGLER_LEASE": f"{LEASE:g}s"}
    )
    client = await crew.stage.client(crew.server)
    await crew.server.start()
    await crew.two_workers()
    await run(crew.legacy, crew.server, client, of_several(crew), 12, record_property)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_whenever_it_is_told_to_end_the_same_holds_and_who_is_refused_may_come_again(
    stage: Stage, record_property: Callable[[str, object], None], workers: str
) -> None:
    legacy = await stage.legacy()
    options = ["--workers", workers, "--drain-timeout", "200ms"]
    server = stage.server(of_all_kinds(legacy.url, concurrency=2), options=options)
    client = await stage.client(server)
    await server.start()
    await run(legacy, server, client, of_orders(server), 12, record_property)
    assert '"level":"error"' not in server.log.read_text()
