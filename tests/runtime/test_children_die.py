"""Children of the supervisor are killed, frozen and replaced: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest

from strangler.runtime.supervisor import _Child, _Supervisor
from tests.harness.client import Client
from tests.harness.waiting import eventually, for_a_while
from tests.runtime.crew import Crew, alive


async def test_what_a_killed_worker_had_under_way_is_settled_at_once_and_it_is_replaced(crew: Crew) -> None:
    await crew.begin()
    first, second = await crew.clients()
    for client, marker in ((first, "a"), (second, "b")):
        assert (await client.submit("/claims", marker, script="do=hold")).status == 202
    await crew.held(2)
    os.kill(crew.workers[0], signal.SIGKILL)
    await crew.all_in(second, ["unconfirmed", "processing"], within=6)  # the lease would last 15 s
    await crew.legacy.release()
    await crew.all_in(second, ["unconfirmed", "completed"])
    first, second = await crew.clients()
    assert (await first.submit("/claims", "c")).status == 202
    await crew.all_in(second, ["unconfirmed", "completed", "completed"])
    assert crew.markers() == {"a": 1, "b": 1, "c": 1}
    assert await crew.server.stop() == 0
    assert crew.server.fsck().returncode == 0


@pytest.mark.parametrize("which", ["worker", "store_process"])
async def test_the_log_says_that_a_child_ended_by_itself(crew: Crew, which: str) -> None:
    await crew.begin()
    victim = crew.store if which == "store_process" else crew.workers[0]
    os.kill(victim, signal.SIGKILL)
    await eventually(lambda: bool(crew.lines(f"{which}_ended")))
    (line,) = crew.lines(f"{which}_ended")
    assert (line["level"], line["pid"], line["code"]) == ("error", victim, -signal.SIGKILL)


@pytest.mark.parametrize(("owner", "event"), [("w", "worker_ended"), (None, "store_process_ended")])
def test_why_a_child_failed_is_in_the_log(capfd: pytest.CaptureFixture[str], owner: str | None, event: str) -> None:
    given = SimpleNamespace(settings=SimpleNamespace(log_format="json"))
    supervisor = _Supervisor(given, [], None, None)  # type: ignore[arg-type]
    child = _Child(owner)
    child.failed = "the certificate is none"
    supervisor._tell_of(child, 7, 2)
    line = json.loads(capfd.readouterr().err)
    assert {name: line[name] for name in ("event", "pid", "code", "reason")} == {
        "event": event,
        "pid": 7,
        "code": 2,
        "reason": "the certificate is none",
    }


async def test_slots_of_a_killed_worker_are_free_again(crew: Crew) -> None:
    await crew.begin("mode: async\ncall: {concurrency: 1, on_in_doubt: fail}")
    clients = await crew.clients()
    assert (await clients[0].submit("/claims", "a", script="do=hold")).status == 202
    await crew.held(1)
    # One slot goes to whoever is quick, which is not always the worker that accepted.
    doomed = crew.workers.index(crew.caller_of("a"))
    left = clients[1 - doomed]
    assert (await left.submit("/claims", "b")).status == 202
    os.kill(crew.workers[doomed], signal.SIGKILL)
    await crew.all_in(left, ["failed", "completed"])


async def test_what_a_killed_worker_would_have_tried_again_another_one_does(crew: Crew) -> None:
    await crew.begin("mode: async\ncall: {backoff: {initial: 3s, max: 3s}}")
    first, second = await crew.clients()
    await crew.legacy.kill()
    identity = (await first.submit("/claims", "m")).json()["id"]
    await eventually(lambda: any(line["process"] == identity for line in crew.lines("attempt")))
    os.kill(crew.workers[0], signal.SIGKILL)
    await crew.legacy.start()
    assert (await second.settled(identity))["state"] == "completed"


async def test_without_a_store_process_nothing_new_is_taken_and_what_is_under_way_is_kept(crew: Crew) -> None:
    await crew.begin()
    first, second = await crew.clients()
    for client, marker in ((first, "a"), (second, "b")):
        assert (await client.submit("/claims", marker, script="do=hold")).status == 202
    await crew.held(2)
    crew.server.freeze()  # so that nobody replaces it
    os.kill(crew.store, signal.SIGKILL)
    await eventually(lambda: len(crew.lines("store_process_away")) == 2)
    for client in (first, second):
        refused = await client.submit("/claims", "refused")
        assert (refused.status, refused.code) == (503, "store-unavailable")
        assert (await client.request("GET", "/hello")).status == 200
    await crew.legacy.release()
    await eventually(lambda: len(crew.lines("outcome_held")) == 2)
    crew.server.thaw()
    await crew.all_in(first, ["completed"] * 2)
    first, second = await crew.clients()
    assert (await second.submit("/claims", "c")).status == 202
    await crew.all_in(first, ["completed"] * 3)
    assert crew.markers() == {"a": 1, "b": 1, "c": 1}
    assert await crew.server.stop() == 0
    assert crew.server.fsck().returncode == 0


async def test_a_store_process_is_found_again_after_the_folder_of_its_socket_was_cleaned_up(
    crew: Crew, tmp_path: Path
) -> None:
    await crew.begin(TMPDIR=str(tmp_path))
    first, _ = await crew.clients()
    (folder,) = tmp_path.glob("strangler-*")
    shutil.rmtree(folder)
    assert (await first.submit("/claims", "a")).status == 202
    gone = crew.store
    os.kill(gone, signal.SIGKILL)
    await eventually(lambda: crew.store != gone)
    first, second = await crew.clients()
    for client, marker in ((first, "b"), (second, "c")):
        assert (await client.submit("/claims", marker)).status == 202
    await crew.all_in(first, ["completed"] * 3)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert await crew.server.stop() == 0
    assert not folder.exists()


async def test_calls_under_way_outlive_a_store_process_and_slots_stay_lent(crew: Crew) -> None:
    await crew.begin("mode: async\ncall: {concurrency: 2}")
    first, second = await crew.clients()
    for number in range(6):
        client = first if number % 2 else second
        assert (await client.submit("/claims", f"m-{number}", script="do=hold")).status == 202
    await crew.held(2)
    gone = crew.store
    os.kill(gone, signal.SIGKILL)
    await eventually(lambda: crew.store != gone)
    await crew.two_workers()
    for wave in (2, 4, 6):
        await crew.held(wave)
        await for_a_while(0.2)
        assert crew.calls() == wave
        await crew.legacy.release()
    await crew.all_in(first, ["completed"] * 6)


@pytest.mark.slow
async def test_whatever_a_dying_store_process_answered_last_is_true(crew: Crew) -> None:
    """It dies with a commit on disk and the answer not sent: nobody is told that nothing was recorded."""
    # Each sender waits for the commit of one before it sends the next: there are 25 commits at least.
    await crew.begin("mode: async", STRANGLER_FAILPOINT="after-commit:20")
    client = await crew.stage.client(crew.server)
    statuses: dict[str, int] = {}

    async def submit(sender: int) -> None:
        for number in range(25):
            marker = f"m-{sender}-{number}"
            statuses[marker] = (await client.submit("/claims", marker, key=marker, timeout=60)).status

    await asyncio.gather(*(submit(sender) for sender in range(4)))
    assert set(statuses.values()) <= {202, 503}
    await eventually(lambda: len(crew.lines("store_open")) > 1, what="it died, and was replaced")
    for identity in client.promises.values():
        assert (await client.settled(identity, within=90))["state"] == "completed"
    accepted = {marker for marker, status in statuses.items() if status == 202}
    assert set(crew.markers()) == accepted
    assert set(crew.markers().values()) == {1}
    assert len(await client.all_processes()) == len(accepted)


@pytest.mark.slow
async def test_a_worker_that_was_frozen_past_its_lease_sends_nothing_again(crew: Crew) -> None:
    await crew.begin("mode: async\ncall: {concurrency: 2}", "--lease", "5s")
    first, second = await crew.clients()
    assert (await first.submit("/claims", "a", script="do=hold")).status == 202
    await crew.held(1)
    frozen = crew.workers[0]
    os.kill(frozen, signal.SIGSTOP)
    await crew.all_in(second, ["unconfirmed"], within=12)
    for marker in ("b", "c"):  # both slots can be used by the other one
        assert (await second.submit("/claims", marker, script="do=hold")).status == 202
    await crew.held(3)
    os.kill(frozen, signal.SIGCONT)
    await crew.legacy.release()
    # The reply that came meanwhile settles what was in doubt.
    await crew.all_in(second, ["completed"] * 3)
    assert (await first.submit("/claims", "d")).status == 202
    await crew.all_in(second, ["completed"] * 4)
    assert crew.markers() == dict.fromkeys("abcd", 1)
    assert len(crew.lines("late_reply")) == 1


@pytest.mark.slow
async def test_a_worker_that_is_frozen_while_the_store_process_is_replaced_keeps_no_slots(crew: Crew) -> None:
    await crew.begin("mode: async\ncall: {concurrency: 2}", "--lease", "5s")
    first, _ = await crew.clients()
    os.kill(crew.workers[1], signal.SIGSTOP)
    gone = crew.store
    os.kill(gone, signal.SIGKILL)
    await eventually(lambda: crew.store != gone)
    for marker in ("a", "b"):
        await eventually(lambda marker=marker: _accepts(first, marker), what="it is accepted")  # type: ignore[misc]
    await crew.held(2)
    os.kill(crew.workers[1], signal.SIGCONT)
    await crew.legacy.release()
    await crew.all_in(first, ["completed"] * 2)


@pytest.mark.slow
async def test_a_frozen_worker_keeps_nobody_else_from_connecting(crew: Crew) -> None:
    await crew.begin()
    frozen, _ = await crew.two_workers()
    os.kill(frozen, signal.SIGSTOP)
    for _ in range(30):
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{crew.server.url}/hello", timeout=aiohttp.ClientTimeout(3)) as reply:
                assert reply.status == 200


@pytest.mark.slow
@pytest.mark.parametrize("disturb", ["reload", "replace"])
async def test_no_request_fails_while_workers_change(crew: Crew, disturb: str) -> None:
    await crew.begin()
    await crew.two_workers()
    going = True
    asked = 0

    async def ask() -> None:
        nonlocal asked
        while going:
            async with aiohttp.ClientSession() as session:  # a new connection each time
                headers = {"X-Correlation-ID": f"m-{asked}", "Prefer": "wait=0"}
                asked += 1
                async with session.post(f"{crew.server.url}/claims", data=b"{}", headers=headers) as reply:
                    assert reply.status == 202, await reply.text()
                async with session.get(f"{crew.server.url}/hello") as reply:
                    assert reply.status == 200, await reply.text()

    tasks = [asyncio.create_task(ask()) for _ in range(4)]
    try:
        for _ in range(4):
            if disturb == "reload":
                for _ in range(5):
                    answered = await crew.server.operations("POST", "/-/reload")
                    assert answered is not None
                    assert answered[0] == 200
            else:
                oldest = (await crew.two_workers())[0]
                os.kill(oldest, signal.SIGTERM)
                await eventually(lambda pid=oldest: not alive(pid), what="it is drained")  # type: ignore[misc]
                await crew.two_workers()
            assert not any(task.done() for task in tasks)
    finally:
        going = False
        await asyncio.gather(*tasks)
    assert asked > 50


async def test_what_a_killed_worker_followed_is_followed_on_by_one_of_the_others(crew: Crew) -> None:
    await crew.begin("mode: async\ncall: {follow: {every: 100ms, for: 1h}}", "--log-level", "debug")
    first, second = await crew.clients()
    identity = (await first.submit("/claims", "m", script="do=take")).json()["id"]

    def asked() -> int:
        return sum(line["method"] == "GET" and line["marker"] == "m" for line in crew.legacy.lines())

    def told() -> int:
        return sum(line["process"] == identity and line["state"] == "following" for line in crew.lines("changed"))

    await eventually(lambda: asked() >= 1, what="it is followed")
    os.kill(crew.workers[0], signal.SIGKILL)  # from here on both workers know when it is due
    await crew.two_workers()
    at_first = asked() - told()
    already = asked()
    await eventually(lambda: asked() >= already + 6, 30.0, "it is asked about")
    assert asked() - told() <= at_first + 1
    await crew.legacy.release()
    assert (await second.settled(identity))["state"] == "completed"


async def _accepts(client: Client, marker: str) -> bool:
    """Whether a request is recorded; there is no store process for a moment."""
    return (await client.submit("/claims", marker, script="do=hold")).status == 202
