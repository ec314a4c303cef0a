"""Backup and restore as the runbook says, of a store that is written to meanwhile."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.material import ROOT
from tests.harness.server import Server
from tests.harness.stage import Stage
from tests.harness.waiting import eventually

POLICY = """
upstreams:
  legacy: {{url: "{url}"}}
routes:
  - {{name: submit-claim, match: {{path: /claims, methods: [POST]}}, upstream: legacy, mode: async}}
"""


def command(original: Path, copy: Path) -> list[str]:
    """The command of the runbook, with other paths."""
    text = (ROOT / "docs" / "runbook.md").read_text()
    found = re.search(r"^strangler (store backup .*)$", text, flags=re.MULTILINE)
    assert found is not None
    words = (
        found[1].replace("/backup/strangler.db", str(copy)).replace("/var/lib/strangler/strangler.db", str(original))
    )
    return [sys.executable, "-m", "strangler", *words.split()]


def copied(original: Path, copy: Path) -> None:
    """Run the command of the runbook."""
    copy.parent.mkdir()
    subprocess.run(command(original, copy), check=True, timeout=60, cwd=ROOT)
    assert Path(f"{copy}.identity-key").read_bytes() == Path(f"{original}.identity-key").read_bytes()


async def commanded(server: Server, *words: str) -> None:
    """Run a command of the command line against a server, with a reason."""
    command = [sys.executable, "-m", "strangler", *words, "--why", "a drill", "--store", server.store]
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=60, cwd=ROOT, stdout=subprocess.DEVNULL)


async def test_a_copy_that_is_taken_while_it_runs_serves_all_that_was_promised_before(stage: Stage) -> None:
    legacy = await stage.legacy()
    server = stage.server(POLICY.format(url=legacy.url))
    await server.start()
    client = await stage.client(server)
    for number in range(5):
        assert (await client.submit("/claims", f"before-{number}")).status == 202
    promised = dict(client.promises)

    submitted = asyncio.Event()

    async def go_on() -> None:
        number = 0
        while True:
            assert (await client.submit("/claims", f"meanwhile-{number}")).status == 202
            submitted.set()
            number += 1

    traffic = asyncio.create_task(go_on())
    await submitted.wait()
    copy = stage.directory / "copies" / "store.db"
    await asyncio.to_thread(copied, stage.directory / "store.db", copy)
    assert not traffic.done()
    traffic.cancel()
    await asyncio.wait([traffic])
    await server.kill()  # as if the machine were gone

    restored = stage.server(POLICY.format(url=legacy.url), name="restored")
    restored.store = f"sqlite:///{copy}"
    checked = restored.fsck()
    assert checked.returncode == 0, checked.stdout
    await restored.start()
    again = await stage.client(restored)
    for process in promised.values():
        document = await again.settled(process)
        assert document["state"] in ("completed", "unconfirmed")
    assert restored.fsck().returncode == 0


@pytest.mark.parametrize("mode", ["async", "compat"])
async def test_who_restores_as_the_runbook_says_repeats_no_call(stage: Stage, mode: str) -> None:
    legacy = await stage.legacy()
    policy = POLICY.format(url=legacy.url).replace("mode: async", f"mode: {mode}, call: {{concurrency: 1}}")
    server = stage.server(policy)
    await server.start()
    client = await stage.client(server)
    told = {"Prefer": "respond-async"}
    await client.submit("/claims", "first", script="do=hold", headers=told)
    waiting = [(await client.submit("/claims", f"waiting-{n}", headers=told)).json()["id"] for n in range(2)]
    await eventually(lambda: legacy.received("first") == 1, what="the first call has the one slot")
    copy = stage.directory / "copies" / "store.db"
    await asyncio.to_thread(copied, stage.directory / "store.db", copy)
    await legacy.release()
    await asyncio.gather(*(client.settled(process) for process in waiting))  # it was sent, and the copy does not know
    await server.kill()

    restored = stage.server(policy, name="restored")
    restored.store = f"sqlite:///{copy}"
    await commanded(restored, "store", "hold")
    await restored.start()
    again = await stage.client(restored)
    assert [(await again.status(process))["state"] for process in waiting] == ["received", "received"]
    # One is known to the legacy system, as far as the drill goes; the other is withdrawn.
    for process, words in zip(waiting, (("resolve", "--as", "completed"), ("cancel",)), strict=True):
        await commanded(restored, "processes", words[0], process, *words[1:])
    assert await restored.metric("strangler_queue_processes") == 0
    await commanded(restored, "routes", "release", "submit-claim")
    new = (await again.submit("/claims", "new", headers=told)).json()["id"]
    assert (await again.settled(new))["state"] == "completed"
    assert set(legacy.calls().values()) == {1}
    documents = [await again.status(process) for process in waiting]
    ends = [(document["state"], document["effect"]) for document in documents]
    assert ends == [("completed", "applied"), ("cancelled", "none")]
    assert restored.fsck().returncode == 0
