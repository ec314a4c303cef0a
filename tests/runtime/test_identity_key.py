"""Another identity key than the one that a store was written under: it is not served, until an operator says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from strangler.config.system import SystemClock
from strangler.domain.process import State
from strangler.store.known_key import is_known, require_known
from strangler.store.ledger import Ledger
from strangler.store.open import open_ledgers, open_store
from strangler.store.sealing import AesGcmSealer
from tests.harness.child import ROOT
from tests.harness.client import Client
from tests.harness.legacy import Legacy
from tests.harness.server import Server
from tests.harness.stage import Stage
from tests.harness.waiting import eventually
from tests.store import builders as make
from tests.store.test_conformance import done

POLICY = """
upstreams:
  legacy: {{url: "{url}"}}
routes:
  - name: submit-claim
    match: {{path: /claims, methods: [POST]}}
    upstream: legacy
    mode: async
    call: {{concurrency: 1, on_in_doubt: review}}
"""
KEYED = {"Idempotency-Key": "k-1"}


async def test_a_start_under_another_key_records_nothing_and_begins_no_call(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    store = open_store(url, AesGcmSealer(b"k" * 32), SystemClock())
    await require_known(store, store.location, b"k" * 32)
    await done(store, make.accept(make.draft(due_at=0, created_at=0, deadline_at=2**53)))
    await store.close()
    (tmp_path / "routes.yaml").write_text(POLICY.format(url="http://127.0.0.1:9"))
    command = [sys.executable, "-m", "strangler", "serve", "routes.yaml", "--store", url, "--disk-reserve", "0B"]
    command += ["--ops", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--identity-key", "k" * 31]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert ended.returncode == 2, ended.stderr
    assert "was written under another identity key" in ended.stderr
    assert "operations_listen" not in ended.stderr
    with open_ledgers(url) as ledgers:
        [ledger] = ledgers.all()
    assert isinstance(ledger, Ledger)
    assert (ledger.process.state, ledger.process.tries) == (State.RECEIVED, 0)
    store = open_store(url, AesGcmSealer(b"k" * 32), SystemClock())
    assert [await store.load(kind) for kind in ("policy", "promise")] == [{}, {}]
    assert await is_known(store, b"k" * 32)
    await store.close()


class Scene:
    """A server that was killed while one call was under way and another one waited; both bear credentials."""

    def __init__(self, legacy: Legacy, server: Server, client: Client) -> None:
        self.legacy, self.server, self.client = legacy, server, client
        self.sent, self.waiting = client.promises["sent"], client.promises["waiting"]
        self.key = Path(f"{server.directory / 'store.db'}.identity-key")

    async def refused(self) -> str:
        """Start it, and have it refuse to."""
        self.server.launch()
        assert await self.server.ended(30) == 2
        return self.server.tail(3)

    def rekey(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "strangler", "store", "rekey", "--store", self.server.store, *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    def shown(self, *words: str) -> str:
        """What the command line says."""
        command = [sys.executable, "-m", "strangler", *words, "--json", "--store", self.server.store]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout


async def scene(stage: Stage, workers: int) -> Scene:
    legacy = await stage.legacy()
    server = stage.server(POLICY.format(url=legacy.url), options=["--workers", str(workers)])
    await server.start()
    client = await stage.client(server)
    await client.submit("/claims", "sent", script="do=hold", headers=KEYED)
    await eventually(lambda: legacy.received("sent") == 1, what="the first call has the one slot")
    assert (await client.submit("/claims", "waiting")).status == 202
    await server.kill()
    return Scene(legacy, server, client)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_store_is_not_served_under_another_key_and_nothing_is_lost_by_the_attempt(
    stage: Stage, workers: int
) -> None:
    it = await scene(stage, workers)
    right = it.key.read_text()
    it.key.write_text("ab" * 32)
    said = await it.refused()
    assert "was written under another identity key" in said
    assert f"or in {it.key}, in hexadecimal" in said
    it.server.options += ["--identity-key", "${secret-env:KEY}"]
    it.server.launch(KEY=right)  # the same letters, and another key: there they count as they are
    assert await it.server.ended(30) == 2
    del it.server.options[-2:]
    it.key.write_text(right)
    await it.legacy.release()
    await it.server.start()
    assert (await it.client.settled(it.waiting))["state"] == "completed"
    assert (await it.client.settled(it.sent))["state"] == "unconfirmed"
    assert it.legacy.calls() == {"sent": 1, "waiting": 1}


@pytest.mark.slow
async def test_who_lost_the_key_is_told_what_goes_with_it_and_goes_on_without_a_call_that_lacks_credentials(
    stage: Stage,
) -> None:
    it = await scene(stage, 1)
    it.key.unlink()
    assert "`strangler store rekey`" in await it.refused()

    asked = it.rekey()
    assert asked.returncode == 1
    assert "Open processes: 2." in asked.stdout
    assert "Nothing has changed" in asked.stdout
    assert not it.key.exists()
    assert it.rekey("--confirm").returncode == 2
    assert not it.key.exists()
    done = it.rekey("--confirm", "--why", "the disk with the key is gone")
    assert (done.returncode, done.stderr) == (0, "")
    assert str(it.key) in done.stdout
    assert "nothing to do" in it.rekey().stdout

    await it.legacy.release()
    await it.server.start()
    assert "is in use" in it.rekey().stderr
    assert (await it.client.request("GET", f"/processes/{it.waiting}/status")).code == "no-such-process"
    again = await it.client.submit("/claims", "again", body={"marker": "sent"}, headers=KEYED)
    assert (again.status, again.json()["id"] != it.sent) == (202, True)

    async def failed() -> bool:
        return "credentials-lost" in it.shown("processes", "show", it.waiting)

    await eventually(failed, what="the one that waited has failed")
    found = json.loads(it.shown("processes", "show", it.waiting))
    assert (found["state"], found["effect"]) == ("failed", "none")
    kinds = {one["process"]: one["kind"] for one in json.loads(it.shown("exceptions", "list"))["exceptions"]}
    assert kinds == {it.sent: "in_doubt", it.waiting: "expired"}
    (command,) = json.loads(it.shown("audit"))["commands"]
    assert (command["what"], command["why"], command["outcome"]) == (
        "rekeyStore",
        "the disk with the key is gone",
        "done",
    )
    assert it.legacy.received("waiting") == 0
    assert it.server.fsck().returncode == 0
