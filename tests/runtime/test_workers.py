"""Several workers are one server to whoever looks from outside."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiohttp
import pytest

from strangler.config.settings import Settings
from strangler.config.urls import MAX_SOCKET_PATH
from strangler.domain.errors import OperatorError
from strangler.runtime.supervisor import supervise
from strangler.store.sqlite.library import choose_library
from tests.chaos.policies import one_route
from tests.chaos.test_reload import answers, rewrite
from tests.harness.stage import Stage
from tests.harness.waiting import eventually, for_a_while
from tests.runtime.crew import Crew, alive


async def test_who_waits_at_one_worker_is_woken_when_another_one_finishes(crew: Crew) -> None:
    await crew.begin()
    first, second = await crew.clients()
    identity = (await first.submit("/claims", "m", script="do=hold")).json()["id"]
    await crew.held(1)
    headers = {"Prefer": "wait=30"}
    poll = asyncio.create_task(second.request("GET", f"/processes/{identity}/status", headers=headers, timeout=8))
    await for_a_while(0.2)
    await crew.legacy.release()
    reply = await poll
    assert reply.json()["state"] == "completed"


async def test_no_more_calls_are_under_way_than_the_route_allows_over_all_workers(crew: Crew) -> None:
    await crew.begin("mode: async\ncall: {concurrency: 3}")
    first, second = await crew.clients()
    for number in range(6):
        assert (await first.submit("/claims", f"a-{number}", script="do=hold")).status == 202
        assert (await second.submit("/claims", f"b-{number}", script="do=hold")).status == 202
    for wave in (3, 6, 9, 12):
        await crew.held(wave)
        await for_a_while(0.2)
        assert crew.calls() == wave
        await crew.legacy.release()
    await crew.all_in(first, ["completed"] * 12)
    assert set(crew.markers().values()) == {1}


async def test_one_worker_can_use_all_that_the_other_one_does_not(crew: Crew) -> None:
    await crew.begin("mode: async\ncall: {concurrency: 4}")
    first, second = await crew.clients()
    for client, marker in ((first, "a"), (second, "b")):
        for number in range(5):
            assert (await client.submit("/claims", f"{marker}-{number}", script="do=hold")).status == 202
        await crew.held(4 if client is first else 9)
        await crew.legacy.release()
        await crew.held(5 if client is first else 10)
        await crew.legacy.release()
    await crew.all_in(first, ["completed"] * 10)


async def test_one_slot_goes_from_worker_to_worker(crew: Crew) -> None:
    await crew.begin("mode: async\ncall: {concurrency: 1}")
    first, second = await crew.clients()
    for number in range(4):
        for client in (first, second):
            process = await client.submit("/claims", f"m-{number}-{client is first}")
            assert (await client.settled(process.json()["id"]))["state"] == "completed"
    assert crew.calls() == 8


@pytest.mark.parametrize(
    "limit", ["call: {concurrency: 1, queue: 4}", "call: {concurrency: 1}\naccept: {queue_bytes: 8KiB}"]
)
async def test_the_queue_is_counted_over_all_workers_however_many_come_at_once(crew: Crew, limit: str) -> None:
    await crew.begin(f"mode: async\n{limit}")
    first, _ = await crew.clients()
    assert (await first.submit("/claims", "m", script="do=hold")).status == 202
    await crew.held(1)

    async def submit(session: aiohttp.ClientSession, number: int) -> int:
        headers = {"X-Correlation-ID": f"m-{number}"}
        async with session.post(f"{crew.server.url}/claims", data=b"x" * 2048, headers=headers) as reply:
            return reply.status

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        statuses = await asyncio.gather(*(submit(session, number) for number in range(60)))
    assert Counter(statuses) == {202: 4, 503: 56}


async def test_a_key_is_known_to_the_worker_that_did_not_take_it(crew: Crew) -> None:
    await crew.begin()
    first, second = await crew.clients()
    replies = [await client.submit("/claims", "m", key="k-1") for client in (first, second, first)]
    assert {reply.json()["id"] for reply in replies} == {replies[0].json()["id"]}
    assert (await second.settled(replies[0].json()["id"]))["state"] == "completed"
    assert crew.legacy.received("m") == 1


async def test_metrics_are_those_of_all_workers_and_no_count_falls_when_one_is_killed(crew: Crew) -> None:
    await crew.begin()
    first, second = await crew.clients()
    for number in range(3):
        await first.submit("/claims", f"a-{number}")
        await second.submit("/claims", f"b-{number}")
    await crew.all_in(first, ["completed"] * 6)
    metric = crew.server.metric
    assert await metric("strangler_accepted_total", route="submit-claim") == 6
    assert await metric("strangler_ended_total", state="completed") == 6
    assert await metric("strangler_acknowledgement_seconds_count") == 6
    assert await metric("strangler_passthrough_requests_total", status="2xx") == 2
    assert await metric("strangler_processes") == 0
    os.kill(crew.workers[0], signal.SIGKILL)
    await crew.two_workers()
    assert await metric("strangler_accepted_total", route="submit-claim") == 6
    assert await metric("strangler_passthrough_requests_total", status="2xx") == 2


async def test_a_reload_has_happened_in_all_workers_when_it_answers(crew: Crew) -> None:
    await crew.begin()
    clients = await crew.clients()
    for number, (mode, status) in enumerate((("compat", 200), ("async", 202)) * 3):
        rewrite(crew.server.policy, one_route(crew.legacy.url, f"mode: {mode}"))
        answered = await crew.server.operations("POST", "/-/reload")
        assert answered is not None
        assert answered[0] == 200
        for client in clients:
            assert (await client.submit("/claims", f"m-{number}-{client is clients[0]}")).status == status


async def test_a_policy_that_does_not_load_changes_no_worker(crew: Crew) -> None:
    await crew.begin()
    clients = await crew.clients()
    rewrite(crew.server.policy, one_route(crew.legacy.url, "mode: asynk"))
    answered = await crew.server.operations("POST", "/-/reload")
    assert answered is not None
    assert answered[0] == 422
    assert "asynk" in answered[1]
    for client in clients:
        assert (await client.submit("/claims", "m")).status == 202


async def test_a_worker_that_comes_later_runs_what_is_in_force_and_not_what_lies_on_the_disk(crew: Crew) -> None:
    await crew.begin()
    rewrite(crew.server.policy, one_route(crew.legacy.url, "mode: asynk"))
    os.kill(crew.workers[0], signal.SIGKILL)
    await eventually(lambda: len(crew.lines("worker_serves")) == 3)
    for client in await asyncio.gather(*(crew.stage.client(crew.server) for _ in range(8))):
        assert (await client.submit("/claims", "m")).status == 202


async def test_sighup_reloads_all_workers(crew: Crew) -> None:
    await crew.begin()
    clients = await crew.clients()
    rewrite(crew.server.policy, one_route(crew.legacy.url, "mode: compat"))
    crew.server.signal(signal.SIGHUP)
    for client in clients:
        await answers(client, 200)


async def test_a_drain_waits_for_the_calls_of_all_workers_and_ends_with_0(crew: Crew) -> None:
    await crew.begin()
    first, second = await crew.clients()
    for client, marker in ((first, "a"), (second, "b")):
        assert (await client.submit("/claims", marker, script="do=hold")).status == 202
    await crew.held(2)
    crew.server.signal(signal.SIGTERM)
    await eventually(lambda: len(crew.lines("draining")) == 2)
    for client in (first, second):
        refused = await client.submit("/claims", "late")
        assert (refused.status, refused.code) == (503, "draining")
    assert await crew.server.readiness() == 503
    await crew.legacy.release()
    assert await crew.server.ended() == 0
    assert crew.server.fsck().returncode == 0
    await crew.server.start()
    client = await crew.stage.client(crew.server)
    assert [one["state"] for one in await client.all_processes()] == ["completed"] * 2


async def test_who_comes_when_nobody_takes_clients_in_any_more_is_refused_and_not_kept_waiting(crew: Crew) -> None:
    await crew.begin()
    first, _ = await crew.clients()
    passing = asyncio.create_task(first.request("GET", "/slow", headers={"X-Legacy": "do=hold"}))
    await eventually(lambda: any(line["path"] == "/slow" for line in crew.legacy.lines()))
    crew.server.signal(signal.SIGTERM)

    async def refused() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", crew.server.port)
        except ConnectionRefusedError:
            return True
        writer.close()
        return False

    await eventually(refused)
    assert not passing.done()
    await crew.legacy.release()
    assert (await passing).status == 200
    assert await crew.server.ended() == 0


@pytest.mark.slow
async def test_who_waits_at_one_worker_for_a_call_of_another_one_is_answered_before_the_end(crew: Crew) -> None:
    await crew.begin()
    first, second = await crew.clients()
    identity = (await first.submit("/claims", "m", script="do=hold", key="k")).json()["id"]
    await crew.held(1)
    headers = {"Prefer": "wait=40"}
    poll = asyncio.create_task(second.request("GET", f"/processes/{identity}/status", headers=headers, timeout=40))
    await for_a_while(0.2)
    crew.server.signal(signal.SIGTERM)
    await for_a_while(6.0)  # longer than the last answers are waited for
    await crew.legacy.release()
    assert (await poll).json()["state"] == "completed"
    assert await crew.server.ended() == 0


async def test_a_second_sigterm_ends_all_of_them_at_once(crew: Crew) -> None:
    await crew.begin()
    first, _ = await crew.clients()
    assert (await first.submit("/claims", "m", script="do=hold")).status == 202
    await crew.held(1)
    children = [*crew.workers, crew.store]
    crew.server.signal(signal.SIGTERM)
    await eventually(lambda: len(crew.lines("draining")) == 2)
    crew.server.signal(signal.SIGTERM)
    assert await crew.server.ended(within=5) == 130
    assert not any(map(alive, children))


def test_where_temporary_files_lie_too_deep_for_a_socket_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * MAX_SOCKET_PATH)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(OperatorError, match="too long a path for a socket in it; name a shorter one in TMPDIR"):
        supervise(Settings(store=f"sqlite:///{tmp_path}/s.db", workers=2), [], {})
    assert list(deep.iterdir()) == []


@pytest.fixture
def private() -> Iterator[Path]:
    """A folder with a short path: a socket is going to be in it."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


async def test_children_end_with_a_supervisor_that_is_killed_and_the_next_one_starts(crew: Crew, private: Path) -> None:
    await crew.begin(TMPDIR=str(private))
    children = [*crew.workers, crew.store]
    await crew.server.kill()
    await eventually(lambda: not any(map(alive, children)), 5.0)
    assert list(private.iterdir()) == []
    await crew.server.start()
    client = await crew.stage.client(crew.server)
    assert (await client.submit("/claims", "m")).status == 202


async def test_lines_of_all_workers_are_whole(crew: Crew) -> None:
    await crew.begin()
    clients = await crew.clients()

    async def ask(number: int) -> None:
        for turn in range(25):
            assert (await clients[number % 2].submit("/claims", f"m-{number}-{turn}")).status == 202

    await asyncio.gather(*(ask(number) for number in range(16)))
    assert await crew.server.stop() == 0
    assert len([line for line in crew.lines("request") if line["method"] == "POST"]) == 400


async def test_a_policy_that_does_not_load_ends_the_start_with_2(crew: Crew) -> None:
    await crew.begin()
    await crew.server.kill()
    crew.server.policy.write_text("routes: 7")
    crew.server.launch()
    assert await crew.server.ended() == 2
    assert "routes.yaml:1:9" in crew.server.tail(5)


async def test_a_store_that_is_in_use_ends_the_start_with_2(crew: Crew) -> None:
    await crew.begin()
    other = crew.stage.server(crew.server.policy.read_text(), options=["--workers", "3"], name="other")
    other.launch()
    assert await other.ended() == 2
    assert "is in use by another strangler" in other.tail(5)


async def test_a_store_in_memory_is_one_workers_own(crew: Crew) -> None:
    await crew.begin()
    other = crew.stage.server(crew.server.policy.read_text(), options=["--workers", "2"], name="other")
    other.store = "memory:"
    other.launch()
    assert await other.ended() == 2
    assert "--workers 1" in other.tail(5)


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
async def test_the_log_says_which_sqlite_holds_the_store(stage: Stage, options: Sequence[str]) -> None:
    server = stage.server(one_route("http://127.0.0.1:9", "mode: async"), options=options)
    await server.start()
    (line,) = [line for line in server.log.read_text().splitlines() if '"store_open"' in line]
    assert json.loads(line)["software"] == choose_library().name
