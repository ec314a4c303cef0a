"""What was acknowledged is there after kill -9, and nothing is there by half."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from strangler.domain.process import Process, State
from strangler.store.fsck import Report
from strangler.store.ledger import Ledger
from strangler.store.open import open_ledgers, open_store
from strangler.store.sealing import AesGcmSealer
from tests.store.builders import FakeClock

ROOT = Path(__file__).parents[2]
FOREVER = 1_000_000
STATES = {"accepted": State.RECEIVED, "claimed": State.PROCESSING, "finished": State.COMPLETED}
ORDER = list(STATES.values())


def start(file: Path, count: int, concurrency: int, *, failpoint: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.store.committing", str(file), str(count), str(concurrency)]
    environ = {**os.environ, "STRANGLER_FAILPOINT": failpoint}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environ)


def told(lines: list[str]) -> dict[str, State]:
    """By process, the last state that was acknowledged."""
    acknowledged: dict[str, State] = {}
    for line in lines:
        word, _, process_id = line.strip().partition(" ")
        if word in STATES:
            acknowledged[process_id] = STATES[word]
    return acknowledged


def recorded(file: Path) -> dict[str, Process]:
    """All processes of a store, which has to be sound."""
    with open_ledgers(f"sqlite:///{file}") as ledgers:
        assert [str(finding) for finding in Report(ledgers)] == []
        found = [ledger for ledger in ledgers.all() if isinstance(ledger, Ledger)]
    return {ledger.process.id: ledger.process for ledger in found}


async def reopen(file: Path) -> None:
    """As a server would do it: the log is recovered, and the lock of the dead is free."""
    store = open_store(f"sqlite:///{file}", AesGcmSealer(b"k" * 32), FakeClock())
    await store.close()


def require(acknowledged: dict[str, State], kept: dict[str, Process]) -> None:
    for process_id, state in acknowledged.items():
        assert process_id in kept, f"{process_id} was acknowledged and is lost"
        assert ORDER.index(kept[process_id].state) >= ORDER.index(state)


async def killed_after(file: Path, lines: int, concurrency: int) -> dict[str, State]:
    """Have it commit, kill it after so many lines, and say what it had acknowledged."""
    running = start(file, FOREVER, concurrency)
    assert running.stdout is not None
    seen = [running.stdout.readline() for _ in range(lines)]
    running.kill()
    seen += running.stdout.readlines()
    running.stdout.close()
    running.wait()
    return told(seen)


@pytest.mark.parametrize(("lines", "concurrency"), [(1, 1), (37, 8), (400, 64)])
async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, lines: int, concurrency: int) -> None:
    file = tmp_path / "strangler.db"
    acknowledged: dict[str, State] = {}
    for _ in range(2):
        acknowledged |= await killed_after(file, lines, concurrency)
        require(acknowledged, recorded(file))  # beside nobody: as fsck would find it
        await reopen(file)
        require(acknowledged, recorded(file))
    assert len(acknowledged) >= (lines - 1) // 3


@pytest.mark.slow
async def test_what_was_acknowledged_survives_many_kills(tmp_path: Path) -> None:
    file = tmp_path / "strangler.db"
    acknowledged: dict[str, State] = {}
    for number in range(15):
        acknowledged |= await killed_after(file, 1 + 97 * number % 700, 1 + 13 * number % 100)
        require(acknowledged, recorded(file))
    assert len(acknowledged) > 1000


@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_who_dies_before_the_commit_has_recorded_nothing_of_it(tmp_path: Path, nth: int) -> None:
    file = tmp_path / "strangler.db"
    running = start(file, 1, 1, failpoint=f"before-commit:{1 + nth}")  # the first one is of the promise
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 137
    acknowledged = told(output.splitlines())
    kept = recorded(file)
    assert {process_id: process.state for process_id, process in kept.items()} == acknowledged
    assert len(output.splitlines()) == nth  # "open" and what went before


@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_who_dies_after_the_commit_has_recorded_what_nobody_was_told(tmp_path: Path, nth: int) -> None:
    file = tmp_path / "strangler.db"
    running = start(file, 1, 1, failpoint=f"after-commit:{1 + nth}")
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 137
    (process,) = recorded(file).values()
    assert process.state is ORDER[nth - 1]
    assert len(output.splitlines()) == nth
    require(told(output.splitlines()), {process.id: process})


async def test_a_failpoint_of_another_name_is_no_failpoint(tmp_path: Path) -> None:
    running = start(tmp_path / "strangler.db", 1, 1, failpoint="somewhere-else")
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert output.splitlines()[-1] == "end"
