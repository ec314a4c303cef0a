from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from strangler.config.files import Stamp
from strangler.config.load import load_policy
from strangler.config.watch import STILL, Watcher, look, refusal, watch
from strangler.policy.model import Table
from tests.policy.builders import a_route, a_table

OLD, NEW, NEWER = ({"f": Stamp(modified, 1, 1)} for modified in (1, 2, 3))


def test_nothing_is_read_again_while_nothing_changes() -> None:
    watcher = Watcher(OLD)
    assert not any(watcher.poll(float(now), OLD) for now in range(5))


def test_a_change_counts_once_it_has_been_still() -> None:
    watcher = Watcher(OLD)
    assert not watcher.poll(1.0, NEW)
    assert not watcher.poll(1.0 + STILL / 2, NEW)
    assert not watcher.poll(1.0 + STILL / 2, NEWER)
    assert not watcher.poll(1.0 + STILL, NEWER)
    assert watcher.poll(1.0 + STILL * 2, NEWER)


def test_a_change_is_told_once() -> None:
    watcher = Watcher(OLD)
    watcher.poll(1.0, NEW)
    assert watcher.poll(2.0, NEW)
    assert not watcher.poll(3.0, NEW)


def test_files_that_come_go_or_appear_at_last_are_changes() -> None:
    for seen, found in ((OLD, {}), ({}, OLD), ({"f": None}, OLD), (OLD, {"f": None})):
        watcher = Watcher(seen)
        watcher.poll(1.0, found)
        assert watcher.poll(2.0, found)


def test_a_change_that_is_taken_back_is_none() -> None:
    watcher = Watcher(OLD)
    watcher.poll(1.0, NEW)
    watcher.poll(1.1, OLD)
    assert not watcher.poll(2.0, OLD)


def test_a_change_between_looking_and_reading_is_not_missed() -> None:
    watcher = Watcher(OLD)
    watcher.poll(1.0, NEW)
    assert watcher.poll(2.0, NEW)
    watcher.read(NEW)  # and it changed again while it was read
    watcher.poll(2.1, NEWER)
    assert watcher.poll(3.0, NEWER)


def test_what_was_read_anew_in_the_meantime_is_no_change() -> None:
    watcher = Watcher(OLD)
    watcher.poll(1.0, NEW)
    assert watcher.poll(2.0, NEW)
    watcher.read(NEWER)
    assert not watcher.poll(2.1, NEWER)
    assert not watcher.poll(3.0, NEWER)


def test_looking_finds_new_files_of_folders_and_files_that_were_read_along(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("{}")
    extra = str(tmp_path / "schema.json")
    before = look([tmp_path], [extra])
    assert before.keys() == {str(tmp_path / "a.yaml"), extra}
    assert before[extra] is None
    (tmp_path / "b.yaml").write_text("{}")
    (tmp_path / "schema.json").write_text("{}")
    after = look([tmp_path], [extra])
    assert after.keys() == before.keys() | {str(tmp_path / "b.yaml")}
    assert after[extra] is not None


def test_a_link_that_is_turned_to_another_file_is_a_change(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "p.yaml").write_text("{}")
        os.utime(tmp_path / name / "p.yaml", (1, 1))
    link = tmp_path / "p.yaml"
    link.symlink_to(tmp_path / "one/p.yaml")
    before = look([link], [])
    link.unlink()
    link.symlink_to(tmp_path / "two/p.yaml")
    assert look([link], []) != before


async def test_the_loop_reloads_after_a_change_and_goes_on_watching(tmp_path: Path) -> None:
    policy = tmp_path / "p.yaml"
    text = 'upstreams: {a: {url: "http://a"}}\ndefault: {upstream: a}\n'
    policy.write_text(text)
    reloaded: asyncio.Queue[str] = asyncio.Queue()

    async def reload() -> Mapping[str, Stamp | None]:
        loaded = load_policy([tmp_path], {})
        reloaded.put_nowait(loaded.table.upstreams["a"].host)
        return loaded.stamps

    task = asyncio.create_task(watch([tmp_path], load_policy([tmp_path], {}).stamps, reload, interval=0.01))
    try:
        for host in ("bb", "ccc"):
            policy.write_text(text.replace("//a", f"//{host}"))
            assert await asyncio.wait_for(reloaded.get(), 10) == host
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_mere_change_on_disk_may_not_lose_every_route() -> None:
    full, empty = a_table(a_route("r", "/a")), Table(revision="", upstreams={}, routes={})
    assert refusal(full, empty, explicit=False) is not None
    assert refusal(full, empty, explicit=True) is None
    assert refusal(full, a_table(a_route("other", "/b")), explicit=False) is None
    assert refusal(empty, empty, explicit=False) is None
