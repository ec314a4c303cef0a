"""The drill: two thousand processes, faults of every kind, and an operator with nothing but the command line.

Reconciliation finds every fault that was put into the record and nothing else, beside traffic; then the queue of
exceptions is brought to empty, and the record says by whom and why.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.harness.child import ROOT
from tests.harness.server import Server
from tests.harness.waiting import eventually, free_port

PROCESSES = 2000
LOST = 60  # replies, half of them after the legacy system had done it
DEAF = 40  # processes whose receiver is dead
GONE = 20  # whose receiver says that it is gone
EXPIRED = 20  # whose upstream is away until their deadline
AMONG_TRAFFIC = 300  # accepted while the record is examined
EACH = 8  # faults of each kind that are put into the record
BATCH = 100

SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()
POLICY = """
upstreams:
  legacy: {{url: "http://127.0.0.1:{legacy}"}}
  away: {{url: "http://127.0.0.1:{away}"}}
receivers:
  well: {{url: "http://127.0.0.1:{hooks}/well", networks: [127.0.0.1/32], secrets: ["{secret}"]}}
  gone: {{url: "http://127.0.0.1:{hooks}/gone", networks: [127.0.0.1/32], secrets: ["{secret}"]}}
  deaf:
    url: "http://127.0.0.1:{hooks}/deaf"
    networks: [127.0.0.1/32]
    secrets: ["{secret}"]
    attempts: 2
    backoff: {{initial: 50ms, factor: 1, max: 50ms, jitter: none}}
route_defaults:
  mode: async
  process: {{references: {{number: to_string(body.number)}}}}
routes:
  - {{name: plain, match: {{path: /plain}}, upstream: legacy}}
  - {{name: well, match: {{path: /well}}, upstream: legacy, callbacks: {{receivers: [well]}}}}
  - {{name: deaf, match: {{path: /deaf}}, upstream: legacy, callbacks: {{receivers: [deaf]}}}}
  - {{name: gone, match: {{path: /gone}}, upstream: legacy, callbacks: {{receivers: [gone]}}}}
  - name: late
    match: {{path: /late}}
    upstream: away
    process: {{deadline: 2s}}
    call: {{backoff: {{initial: 500ms, factor: 1, max: 500ms, jitter: none}}}}
"""


class World:
    """A legacy system that loses replies, receivers that may be dead, and a register of what was really done."""

    def __init__(self) -> None:
        self.register: Counter[int] = Counter()
        self.sick = True
        self.port = 0

    async def legacy(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        loses = body["lose"] if self.sick else None
        if loses != "before":
            self.register[body["number"]] += 1
        if loses is not None:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"done": body["number"]})

    async def receiver(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        status = {"/deaf": 500, "/gone": 410}.get(request.path, 204) if self.sick else 204
        return web.Response(status=status)

    @asynccontextmanager
    async def there(self) -> AsyncIterator[tuple[int, int]]:
        """The ports of the legacy system and of the receivers."""
        ports, runners = [], []
        for handler in (self.legacy, self.receiver):
            application = web.Application()
            application.router.add_route("*", "/{anything:.*}", handler)
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
            ports.append(runner.addresses[0][1])
            runners.append(runner)
        try:
            yield ports[0], ports[1]
        finally:
            for runner in runners:
                await runner.cleanup()


class Operator:
    """Somebody at the machine of the server, who has the command line and nothing else."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, *words: str | int) -> tuple[int, str]:
        """The exit code of a command, and what it said."""
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "strangler", *map(str, words), "--store", self._server.store),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await child.communicate()
        assert child.returncode is not None
        return child.returncode, said.decode()

    async def does(self, *words: str | int) -> str:
        """What a command said that did what it was asked for."""
        code, said = await self(*words)
        assert code == 0, f"{words}: {said}"
        return said

    async def told(self, *words: str | int) -> Any:
        """The JSON that a command says, whether all is well or not."""
        code, said = await self(*words, "--json")
        assert code < 2, said
        return json.loads(said)

    async def queue(self, kind: str) -> list[dict[str, Any]]:
        """What is open of a kind."""
        found = await self.told("exceptions", "list", "--kind", kind, "--limit", 0)
        return list(found["exceptions"])


async def submit(session: aiohttp.ClientSession, server: Server, number: int, route: str, lose: str | None) -> str:
    """The id of a process that was accepted."""
    body = {"number": number, "lose": lose}
    async with session.post(f"{server.url}/{route}", json=body) as answer:
        assert answer.status == 202, await answer.text()
        return str((await answer.json())["id"])


async def submit_all(session: aiohttp.ClientSession, server: Server, plan: list[tuple[str, str | None]]) -> list[str]:
    """The ids of processes by their numbers."""
    ids: list[str] = []
    for start in range(0, len(plan), BATCH):
        batch = enumerate(plan[start : start + BATCH], start)
        ids += await asyncio.gather(*[submit(session, server, number, *each) for number, each in batch])
    return ids


def the_plan() -> list[tuple[str, str | None]]:
    """Route and fault of each process."""
    plan: list[tuple[str, str | None]] = [("plain", "before" if number % 2 else "after") for number in range(LOST)]
    plan += [("deaf", None)] * DEAF + [("gone", None)] * GONE + [("late", None)] * EXPIRED
    plan += [("well", None)] * 200
    plan += [("plain", None)] * (PROCESSES - AMONG_TRAFFIC - len(plan))
    random.Random(17).shuffle(plan)
    return plan


def put_faults(store: Path, plan: list[tuple[str, str | None]], ids: list[str]) -> dict[str, str]:
    """Write into the store beside Strangler. Returns by process what reconciliation has to call it."""
    sound = [process_id for (route, lose), process_id in zip(plan, ids, strict=True) if route == "plain" and not lose]
    told = [process_id for (route, _), process_id in zip(plan, ids, strict=True) if route == "well"]
    doubted = [process_id for (_, lose), process_id in zip(plan, ids, strict=True) if lose]
    kinds = (
        ("row", "UPDATE process SET status = 'DENIED' WHERE id = ?", sound),
        ("row", "UPDATE process SET result_length = result_length + 1 WHERE id = ?", sound),
        (
            "history",
            "UPDATE event SET content = replace(content, '\"plain\"', '\"other\"') "
            "WHERE process_id = ? AND sequence = 1",
            sound,
        ),
        ("history", "DELETE FROM event WHERE process_id = ? AND sequence = 2", sound),
        (
            "row",
            "DELETE FROM event WHERE process_id = ?1 AND sequence = "
            "(SELECT max(sequence) FROM event WHERE process_id = ?1)",
            sound,
        ),
        ("history", "DELETE FROM event WHERE process_id = ?", sound),
        ("reply", "UPDATE reply SET data = CAST(replace(data, 'done', 'gone') AS BLOB) WHERE process_id = ?", sound),
        ("outbox", "DELETE FROM outbox WHERE aggregateid = ? AND type LIKE '%.completed'", sound),
        ("delivery", "DELETE FROM delivery_attempt WHERE process_id = ?", told),
        ("delivery", "UPDATE delivery SET receiver = 'thief' WHERE process_id = ?", told),
        ("orphan", "DELETE FROM exception WHERE process_id = ?", doubted),
    )
    faults: dict[str, str] = {}
    connection = sqlite3.connect(store, isolation_level=None)
    for code, sql, among in kinds:
        for _ in range(EACH):
            process_id = among.pop()
            changed = connection.execute(sql, (bytes.fromhex(process_id.replace("-", "")),)).rowcount
            assert changed > 0, sql
            faults[process_id] = code
    connection.close()
    return faults


async def settled(operator: Operator, plan: list[tuple[str, str | None]]) -> None:
    """Wait for all that is going to happen without a person."""

    async def counted() -> bool:
        found = await operator.told("exceptions", "list", "--limit", 1)
        counts = found["open"]
        return bool(
            counts["in_doubt"] == LOST
            and counts["dead_delivery"] == DEAF
            and counts["expired"] == EXPIRED
            and counts["receiver_gone"] > 0
        )

    await eventually(counted, within=60, what="all faults are in the queue")

    async def quiet() -> bool:
        found = await operator.told("processes", "list", "--state", "received,processing", "--limit", 1)
        return not found["processes"]

    await eventually(quiet, within=60, what="all calls are made")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("workers", [1, 2])
async def test_every_fault_is_found_and_the_queue_is_brought_to_empty_by_the_command_line_alone(
    tmp_path: Path, workers: int
) -> None:
    world = World()
    async with world.there() as (legacy, hooks), aiohttp.ClientSession() as session:
        policy = POLICY.format(legacy=legacy, hooks=hooks, away=free_port(), secret=SECRET)
        options = ["--workers", str(workers), "--access-log", "none", "--public-url", "https://public.example"]
        server = Server(tmp_path, policy, options=options)
        operator = Operator(server)
        await server.start()
        try:
            plan = the_plan()
            ids = await submit_all(session, server, plan)
            await settled(operator, plan)
            assert await server.stop() == 0
            faults = put_faults(tmp_path / "store.db", plan, ids)
            await server.start()
            await reconciled(operator, session, server, faults)
            await emptied(operator, world, plan, ids)
            await at_peace(operator, server, faults)
        finally:
            await server.stop()
    assert set(world.register.values()) <= {1}, "nothing was done twice"


async def reconciled(
    operator: Operator, session: aiohttp.ClientSession, server: Server, faults: dict[str, str]
) -> None:
    """Every fault that was put into the record is found, while the server works, and nothing else."""
    traffic = asyncio.ensure_future(
        asyncio.gather(*[submit(session, server, PROCESSES + number, "plain", None) for number in range(AMONG_TRAFFIC)])
    )
    report = await operator.told("reconcile", "--bodies", "--why", "the drill")
    await traffic
    assert report["outcome"] == "finished", report
    assert {one["process"]: one["code"] for one in report["findings"]} == faults
    assert (report["found"], report["opened"]) == (len(faults), len(faults))
    again = await operator.told("reconcile", "--bodies", "--why", "the drill")
    # An orphan has somebody by now; all else is open already, and not opened again.
    assert (again["opened"], again["open"], again["mended"]) == (0, len(faults) - EACH, 0)
    assert again["processes"] == PROCESSES
    assert len(await operator.queue("integrity")) == sum(code != "orphan" for code in faults.values())
    assert len(await operator.queue("orphan")) == EACH


async def emptied(operator: Operator, world: World, plan: list[tuple[str, str | None]], ids: list[str]) -> None:
    """Each exception leaves the queue by what may be done about it."""
    world.sick = False
    number_of = dict(zip(ids, range(len(ids)), strict=True))
    doubted = await operator.queue("in_doubt,orphan")
    done = [one["id"] for one in doubted if world.register[number_of[one["process"]]]]
    undone = [one["id"] for one in doubted if not world.register[number_of[one["process"]]]]
    assert len(done) + len(undone) == LOST
    await operator.does("exceptions", "claim", *done)
    await operator.does("exceptions", "note", done[0], "the register has all of these")
    await operator.does(
        *("exceptions", "resolve", *done, "--as", "completed", "--evidence", "the register"),
        *("--why", "looked up in the register"),
    )
    await operator.does("exceptions", "resolve", *undone, "--repeat", "--why", "the register knows nothing of them")
    await operator.does("exceptions", "resolve", "--kind", "dead_delivery", "--redrive", "--why", "it is up again")
    await operator.does("exceptions", "resolve", "--kind", "receiver_gone", "--redrive", "--why", "it moved back")
    await operator.does("exceptions", "resolve", "--route", "late", "--accept", "--why", "the clients were called")
    await operator.does("exceptions", "resolve", "--kind", "integrity", "--accept", "--why", "the drill did it")


async def at_peace(operator: Operator, server: Server, faults: dict[str, str]) -> None:
    """Nothing is open, all is delivered and done, and what was accepted stays on record."""

    async def delivered() -> bool:
        found = await operator.told("processes", "list", "--state", "open", "--limit", 1)
        held = [await server.metric("strangler_deliveries", delivery=state) for state in ("pending", "held", "dead")]
        return not found["processes"] and sum(held) == 0

    await eventually(delivered, within=30, what="all calls are made and all receivers are told")
    report = await operator.told("exceptions", "list")
    assert report == {"exceptions": [], "open": dict.fromkeys(report["open"], 0)}
    accepted = sum(code != "orphan" for code in faults.values())
    again = await operator.told("reconcile", "--bodies", "--why", "the drill")
    assert (again["outcome"], again["opened"], again["open"], again["accepted"]) == ("finished", 0, 0, accepted)
    await operator.does("reconcile", "--why", "the drill")
    closed = await operator.told("exceptions", "list", "--state", "closed", "--limit", 0)
    assert Counter(one["kind"] for one in closed["exceptions"])["integrity"] == accepted
    assert all(one["closedBy"] for one in closed["exceptions"])
    audit = await operator.told("audit", "--what", "resolveException", "--limit", 200)
    # Who calls one receiver again settles all that was held for it: the others are told that this was done.
    assert {one["outcome"] for one in audit["commands"]} <= {"done", "not-resolvable"}
    assert all(one["why"] for one in audit["commands"])
    said = server.fsck().stdout
    assert all(process_id in said for process_id, code in faults.items() if code != "orphan"), "fsck goes on telling"
