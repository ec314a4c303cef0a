"""The index of terms of the SQLite store: what is written, and that it goes with its processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from strangler.domain.process import Process
from strangler.ports import Committed, Search
from strangler.store.desk import HOUR, hour_of
from strangler.store.sqlite.forgetting_terms import EVERY, Forgetting
from strangler.store.sqlite.searching import _LOOK_UP, _WALK, Searching
from strangler.store.sqlite.store import SqliteStore
from tests.store import builders as make
from tests.store.backends import BACKENDS
from tests.store.builders import NOON, RETAIN, FakeClock, after

LENGTH = 1 << HOUR  # milliseconds of an hour of the index


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteStore]:
    opened = BACKENDS["sqlite"](tmp_path, clock)
    assert isinstance(opened, SqliteStore)
    yield opened
    await opened.close()


def rows(store: SqliteStore) -> list[tuple[int, int]]:
    return [(hour, count) for hour, count in store._scanning.rows("SELECT hour, count(*) FROM lookup GROUP BY hour")]


async def ended(store: SqliteStore, at: int, **fields: object) -> Process:
    accepted = make.accept(make.draft(at, **fields))
    for commit in (accepted, claimed := make.claim(after(accepted), at=at), make.finish(after(claimed), at=at)):
        assert await store.commit(commit) == Committed()
    return after(claimed)


async def test_what_nobody_gave_is_not_written(store: SqliteStore) -> None:
    await store.commit(make.accept(make.draft(correlation_id=f"{NOON:012x}" + "a" * 20)))
    assert rows(store) == []
    await store.commit(make.accept(make.keyed("k", correlation_id="c")))
    assert rows(store) == [(hour_of(NOON), 2)]


async def test_an_hour_is_forgotten_when_the_last_of_its_processes_is(store: SqliteStore) -> None:
    first, second = NOON, NOON + 3 * LENGTH
    await ended(store, first)
    await ended(store, first + 1000)
    stays = await ended(store, second)
    assert rows(store) == [(hour_of(first), 2), (hour_of(second), 1)]
    now = first + RETAIN
    await store.sweep(now, 500)
    assert rows(store) == [(hour_of(first), 2), (hour_of(second), 1)], "one of the first hour is still there"
    await store.sweep(now + 1000 + EVERY, 500)
    assert rows(store) == [(hour_of(second), 1)]
    found = await store.search(Search(correlation_id="corr-1"))
    assert [process.id for process in found.processes] == [stays.id]


async def test_terms_of_a_process_that_is_gone_find_nothing(store: SqliteStore) -> None:
    await ended(store, NOON)
    await ended(store, NOON + 1000)
    await store.sweep(NOON + RETAIN, 500)
    assert [p.created_at for p in (await store.search(Search(correlation_id="corr-1"))).processes] == [NOON + 1000]


async def test_a_process_that_comes_after_the_look_keeps_the_terms_of_its_hour(store: SqliteStore) -> None:
    await ended(store, NOON)
    await store._do(lambda connection: connection.run("DELETE FROM process"))
    late = make.draft(NOON + 1000, correlation_id="corr-1")

    async def look(work: Any) -> Any:
        found = await store._look(work)
        assert found[0] == [hour_of(NOON)]
        assert await store.commit(make.accept(late)) == Committed()
        return found

    assert await Forgetting().sweep(NOON + RETAIN, look, store._do) == 0
    assert [process.id for process in (await store.search(Search(correlation_id="corr-1"))).processes] == [late.id]


async def test_more_hours_than_one_look_takes_are_forgotten_by_the_next_ones(store: SqliteStore) -> None:
    await asyncio.gather(*[ended(store, NOON + number * LENGTH) for number in range(70)])
    await store.sweep(NOON + 70 * LENGTH + RETAIN, 500)
    assert len(rows(store)) == 6
    await store.sweep(NOON + 70 * LENGTH + RETAIN + EVERY, 500)
    assert rows(store) == []


async def test_a_page_that_takes_too_long_ends_and_says_where_to_go_on(store: SqliteStore) -> None:
    drafts = [make.draft(NOON + number, route="rare" if number == 0 else "usual") for number in range(1100)]
    await asyncio.gather(*[store.commit(make.accept(draft)) for draft in drafts])
    ticks = iter(range(100))
    page = Searching(store._scanning, timer=lambda: float(next(ticks))).page(Search(route="rare"))
    assert (page.ids, page.looked) == ([], 256)
    assert page.before is not None
    found = await store.search(Search(route="rare", before_id=None))
    assert [process.created_at for process in found.processes] == [NOON]


@pytest.mark.parametrize("term", ["correlation_id", "key"])
async def test_a_word_that_very_many_share_is_looked_up_in_parts(store: SqliteStore, term: str) -> None:
    drafts = [make.draft(NOON + number * LENGTH // 100, **{term: "all"}) for number in range(600)]
    await asyncio.gather(*[store.commit(make.accept(draft)) for draft in drafts])
    page = Searching(store._scanning).page(Search(**{term: "all"}))  # type: ignore[arg-type]
    assert len(page.ids) == 256
    assert page.ids == sorted(page.ids, reverse=True)
    assert page.before == page.ids[-1]


def plan(store: SqliteStore, sql: str, values: Any) -> list[str]:
    return [detail for _, _, _, detail in store._scanning.rows(f"EXPLAIN QUERY PLAN {sql}", values)]


async def test_neither_a_walk_nor_a_look_up_goes_through_a_whole_table(store: SqliteStore) -> None:
    walk = plan(store, _WALK.replace("{sought}", "route = 'x'"), (bytearray(16), bytearray(16), 10))
    names = ("term", "top", "bottom", "before", "after", "most", "hours")
    look_up = plan(store, _LOOK_UP, dict.fromkeys(names, 1))
    assert any("process" in step and "id>? AND id<?" in step for step in walk), walk
    for step in (*walk, *look_up):
        assert not step.startswith(("SCAN process", "SCAN lookup", "USE TEMP B-TREE")), (walk, look_up)
