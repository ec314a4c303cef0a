"""What goes on for ever beside the requests: what it sees is told by itself, and it does not end without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from strangler.config.settings import Settings
from strangler.policy.match import Matcher
from strangler.policy.model import Table
from strangler.runtime.policies import Policies
from strangler.runtime.tasks import Tasks, repeat
from strangler.store.memory import MemoryStore
from tests.engine.world import FakeClock
from tests.harness.waiting import eventually
from tests.operations.desk_stage import Desk, a_desk
from tests.operations.samples import Heard
from tests.runtime.test_orders import POLICY


def events(desk: Desk) -> list[str]:
    """The names of the lines that were logged."""
    return [json.loads(line)["event"] for line in desk.lines.decode().splitlines()]


async def test_that_the_store_refuses_and_takes_work_again_is_told_where_nobody_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_desk(tmp_path) as desk:
        with monkeypatch.context() as patched:
            patched.setattr(desk.store, "refusal", lambda: "the disk is full")
            await eventually(lambda: "store_refuses" in events(desk), what="the refusal is told")
            assert b"strangler_store_refusing 1.0" in (await desk.get("/metrics")).body
        await eventually(lambda: "store_takes_work" in events(desk), what="its end is told")
        assert b"strangler_store_refusing 0.0" in (await desk.get("/metrics")).body


async def test_what_should_never_end_and_does_by_a_defect_is_told_and_counted() -> None:
    async def work() -> None:
        raise ZeroDivisionError("a defect")

    heard = Heard()
    with heard as telemetry:
        tasks = Tasks(telemetry)
        tasks.start(work())
        await eventually(lambda: telemetry.counts.defects == {"task": 1}, what="it is counted")
        await tasks.end()
    assert [(line["event"], line["place"]) for line in heard.lines] == [("defect", "task")]


async def test_what_is_repeated_goes_on_after_a_defect() -> None:
    turns: list[int] = []

    def work() -> None:
        turns.append(1)
        if len(turns) == 1:
            raise ZeroDivisionError("a defect")

    heard = Heard()
    with heard as telemetry:
        tasks = Tasks(telemetry)
        tasks.start(repeat(work, 0.0, "leases", telemetry))
        await eventually(lambda: len(turns) > 1, what="it is done again")
        await tasks.end()
        assert telemetry.counts.defects == {"leases": 1}


async def test_what_is_ended_in_order_is_no_defect() -> None:
    heard = Heard()
    with heard as telemetry:
        tasks = Tasks(telemetry)
        tasks.start(eventually(lambda: False, within=60))
        await tasks.end()
    assert heard.lines == []


class Breaking(MemoryStore):
    """Fails by a defect once."""

    broken = False

    async def save(self, kind: Any, name: str, text: str) -> None:
        """See `Archive.save`."""
        if self.broken:
            self.broken = False
            raise ZeroDivisionError("a defect")
        await super().save(kind, name, text)


class Switch:
    """Takes any table."""

    def load(self, table: Table, matcher: Matcher, remembered: frozenset[str]) -> None:
        """See `TakesTable`."""


async def test_a_defect_in_one_reload_is_told_and_the_next_change_of_the_files_is_taken_up(tmp_path: Path) -> None:
    path, store, heard = tmp_path / "policy.yaml", Breaking(), Heard()
    path.write_text(POLICY)
    with heard as telemetry:
        policies = Policies(
            Settings(public_url="https://api.example"), [path], {}, store, telemetry, FakeClock(), lambda: None
        )
        await policies.begin(policies.read(), Switch())
        tasks = Tasks(telemetry)
        tasks.start(policies.watch())
        store.broken = True
        path.write_text(POLICY.replace("claims", "complaints"))
        await eventually(lambda: telemetry.counts.defects == {"reload": 1}, what="the defect is counted")
        path.write_text(POLICY.replace("claims", "losses"))
        await eventually(lambda: policies.route_of("losses") is not None, what="the next change is in force")
        assert telemetry.counts.defects == {"reload": 1}
        await tasks.end()


async def test_a_secret_that_is_emptied_is_not_taken_up_and_the_policy_in_force_stays(tmp_path: Path) -> None:
    path, secret, heard = tmp_path / "policy.yaml", tmp_path / "token", Heard()
    path.write_text(POLICY.replace("mode: async", "mode: async, call: {headers: {set: {X-Token: '${file:token}'}}}"))
    secret.write_text("s3cret\n")
    with heard as telemetry:
        settings = Settings(public_url="https://api.example")
        policies = Policies(settings, [path], {}, MemoryStore(), telemetry, FakeClock(), lambda: None)
        await policies.begin(policies.read(), Switch())
        tasks = Tasks(telemetry)
        tasks.start(policies.watch())
        secret.write_text("")
        await eventually(lambda: "policy" in telemetry.degraded(), what="it is refused")
        assert f"{secret} is empty" in telemetry.degraded()["policy"]
        route = policies.route_of("claims")
        assert route is not None
        assert route.call.set_headers == (("X-Token", "s3cret"),)
        secret.write_text("rotated")
        await eventually(lambda: policies.route_of("claims") is not route, what="the next one is in force")
        assert "policy" not in telemetry.degraded()
        await tasks.end()


async def test_after_a_restart_what_was_in_force_stays_so_and_the_files_are_read_right_after(tmp_path: Path) -> None:
    path, store, heard = tmp_path / "policy.yaml", MemoryStore(), Heard()
    settings = Settings(public_url="https://api.example")
    path.write_text(POLICY)
    with heard as telemetry:
        before = Policies(settings, [path], {}, store, telemetry, FakeClock(), lambda: None)
        await before.begin(before.read(), Switch())
        path.write_text(POLICY.replace("claims", "losses"))  # while nobody watches
        policies = Policies(settings, [path], {}, store, telemetry, FakeClock(), lambda: None)
        loaded = await policies.restored()
        assert loaded is not None
        assert "claims" in loaded.table.routes
        await policies.begin(loaded, Switch())
        tasks = Tasks(telemetry)
        tasks.start(policies.watch())
        await eventually(lambda: policies.route_of("losses") is not None, what="the files are in force")
        await tasks.end()
