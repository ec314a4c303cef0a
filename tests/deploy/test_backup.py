"""Backup and restore as the runbook says, of a store that is written to meanwhile."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys

from tests.deploy.material import ROOT
from tests.harness.stage import Stage

POLICY = """
upstreams:
  legacy: {{url: "{url}"}}
routes:
  - {{name: submit-claim, match: {{path: /claims, methods: [POST]}}, upstream: legacy, mode: async}}
"""


def program() -> str:
    """The program of the runbook."""
    found = re.search(r"<<'PYTHON'\n(.*?)PYTHON\n", (ROOT / "docs" / "runbook.md").read_text(), flags=re.DOTALL)
    assert found is not None
    return found[1]


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
    copies = stage.directory / "copies"
    copies.mkdir()
    original, copy = stage.directory / "store.db", copies / "store.db"
    command = [sys.executable, "-c", program(), str(original), str(copy)]
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)
    assert not traffic.done()
    traffic.cancel()
    await asyncio.wait([traffic])
    await server.kill()  # as if the machine were gone

    restored = stage.server(POLICY.format(url=legacy.url), name="restored")
    restored.store = f"sqlite:///{copy}"
    checked = restored.fsck()
    assert checked.returncode == 0, checked.stdout
    shutil.copy(f"{original}.identity-key", f"{copy}.identity-key")
    await restored.start()
    again = await stage.client(restored)
    for process in promised.values():
        document = await again.settled(process)
        assert document["state"] in ("completed", "unconfirmed")
    assert restored.fsck().returncode == 0
