"""Whoever is to be told is told, by exactly one OS process of the server, however many workers it has."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.chaos.called_back import Receivers, policy
from tests.harness.stage import Stage
from tests.harness.waiting import eventually


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    async with AsyncExitStack() as stack:
        receivers = Receivers()
        await receivers.listen(stack)
        yield receivers


@pytest.mark.parametrize("workers", [1, 2])
async def test_every_delivery_arrives_once_by_one_worker_and_by_several(
    stage: Stage, receivers: Receivers, workers: int
) -> None:
    legacy = await stage.legacy()
    options = ["--public-url", "https://public.example", "--workers", str(workers)]
    server = stage.server(policy(legacy.url, receivers), options=options)
    await server.start()
    client = await stage.client(server)
    for number in range(10):
        headers = {"X-Callback-Url": receivers.url("takes")}
        assert (await client.submit("/claims", f"m-{number}", headers=headers)).status == 202
    await eventually(lambda: len(receivers.told) >= 20, what="two callbacks for each")

    async def counted() -> bool:
        return await server.metric("strangler_deliveries_ended_total", delivery="delivered") == 20

    await eventually(counted)
    assert set(receivers.told.values()) == {1}
    assert receivers.taken == set(receivers.told)
    assert await server.metric("strangler_delivery_seconds_count", receiver="partners") == 10
    assert await server.stop() == 0
    assert server.fsck().returncode == 0, server.fsck().stdout


async def test_a_url_that_nobody_may_name_is_refused_and_nothing_is_done(stage: Stage, receivers: Receivers) -> None:
    legacy = await stage.legacy()
    server = stage.server(policy(legacy.url, receivers), options=["--public-url", "https://public.example"])
    await server.start()
    client = await stage.client(server)
    reply = await client.submit("/claims", "m", headers={"X-Callback-Url": "http://169.254.169.254/latest"})
    assert (reply.status, reply.code) == (422, "callback-not-allowed")
    assert legacy.lines() == []


async def test_a_store_process_that_dies_takes_no_delivery_with_it(stage: Stage, receivers: Receivers) -> None:
    legacy = await stage.legacy()
    options = ["--public-url", "https://public.example", "--workers", "2"]
    server = stage.server(policy(legacy.url, receivers, timeout="30s", attempts=12), options=options)
    await server.start()
    client = await stage.client(server)
    for number in range(5):
        headers = {"X-Callback-Url": receivers.url("hangs")}
        assert (await client.submit("/claims", f"m-{number}", headers=headers)).status == 202
    await eventually(lambda: sum(way == "hangs" for way, _ in receivers.order) == 5, what="all of them hang")

    async def recorded() -> bool:
        return await server.metric("strangler_deliveries_ended_total", delivery="delivered") == 5

    await eventually(recorded, what="what was taken is on record")
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    (store,) = [line["pid"] for line in lines if line["event"] == "store_open"]
    os.kill(store, signal.SIGKILL)
    hanging = {name for way, name in receivers.order if way == "hangs"}
    await eventually(lambda: all(receivers.told[name] == 2 for name in hanging), what="all of them come again")
    assert len(hanging) == 5
    assert all(receivers.told[name] == 1 for name in receivers.taken), "what was taken came once"
