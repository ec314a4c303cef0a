"""Event streams: each public change once and in order, whatever is cut, lost or slow."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import Header
from strangler.domain.steps import Cancel, Claim, Doubt, Postpone
from strangler.domain.transitions import apply
from strangler.engine.conclude import settling
from strangler.ports import ListQuery
from strangler.store import marks
from tests.gateway.following import Reader, Seen, all_events, events
from tests.gateway.jumping import run
from tests.gateway.scene import ALICE, BOB, SENT, Scene, content, field, finish

LONG = (Claim("worker-1"), Postpone(0, "refused"), Claim("worker-1"), Doubt("timeout", False), finish())
"""A way with five public versions and some changes that no client sees."""


def versions(seen: list[Seen]) -> list[int]:
    return [one.version for one in seen]


# ── One process ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_document_as_it_is_comes_first_then_each_change_and_the_final_one_is_the_end() -> None:
    scene = Scene()
    process = await scene.process()
    async with Reader(await events(scene, process)) as reader:
        first = await reader.next()
        assert first is not None
        assert first.data == json.loads(await content(await scene.ask("GET", process, "/status", ALICE)))
        assert (first.id, first.event, reader.retry) == ("1", "state", 3000)
        process = await scene.goes_on(process, Claim("worker-1"))
        second = await reader.next()
        assert second is not None
        assert (second.id, second.event, second.data["state"]) == ("2", "state", "processing")
        process = await scene.goes_on(process, finish())
        last = await reader.next()
        assert last is not None
        assert (last.id, last.event, last.data["state"]) == ("3", "final", "completed")
        assert await reader.next() is None


async def test_the_head_is_that_of_the_contract() -> None:
    scene = Scene()
    process = await scene.process()
    for method in ("GET", "HEAD"):
        answer = await scene.ask(method, process, "/events", ALICE)
        assert answer.status == 200
        assert field(answer, "Content-Type") == "text/event-stream"
        assert field(answer, "Cache-Control") == "no-cache, no-transform"
        assert field(answer, "X-Accel-Buffering") == "no"
        assert field(answer, "Strangler-Source") == "proxy"
        assert field(answer, "Vary") == "Authorization, X-Api-Key"
        assert answer.length is None
    assert ("polled", ("submit-claim", "events")) in scene.instrument.told


async def test_changes_between_two_looks_are_each_told_once_and_in_order() -> None:
    scene = Scene()
    process = await scene.process()
    async with Reader(await events(scene, process)) as reader:
        await reader.next()
        for transition in LONG:
            process = await scene.goes_on(process, transition)
        assert versions(await reader.rest()) == list(range(2, process.version + 1))


@pytest.mark.parametrize("cut", list(itertools.product(range(1, 4), range(1, 4))))
async def test_a_cut_stream_that_is_resumed_has_no_gap_and_no_repeat(cut: tuple[int, int]) -> None:
    """Cut after so many events, while the process goes on; then again."""
    scene = Scene()
    process = await scene.process()
    seen: list[Seen] = []
    last: str | None = None
    steps = list(LONG)
    for count in cut:
        async with Reader(await events(scene, process, last=last)) as reader:
            for _ in range(count):
                while len(seen) == process.version and steps:
                    process = await scene.goes_on(process, steps.pop(0))
                one = await reader.next()
                if one is not None:
                    seen.append(one)
            last = reader.last_id
    for step in steps:
        process = await scene.goes_on(process, step)
    answer = await events(scene, process, last=last)
    if answer.status == 200:
        seen += await Reader(answer).rest()
    assert versions(seen) == list(range(1, process.version + 1))
    assert (await events(scene, process, last=seen[-1].id)).status == 204


async def test_a_resumed_stream_tells_what_the_document_was_at_each_version() -> None:
    scene = Scene()
    process = await scene.process()
    before = json.loads(await content(await scene.ask("GET", process, "/status", ALICE)))
    scene.clock.pass_(5)
    process = await scene.goes_on(process, Claim("worker-1"))
    scene.clock.pass_(5)
    process = await scene.goes_on(process, finish(status="APPROVED"))
    seen = await Reader(await events(scene, process, last="0")).rest()
    assert [one.data["state"] for one in seen] == ["received", "processing", "completed"]
    assert [one.event for one in seen] == ["state", "state", "final"]
    links = {name: link for name, link in before["links"].items() if name != "cancel"}
    assert seen[0].data == {**before, "links": links}, "all that it was, and no link that leads nowhere now"
    assert seen[2].data["status"] == "APPROVED"


async def test_whoever_knows_the_end_gets_204_and_whoever_does_not_gets_it_once() -> None:
    scene = Scene()
    process = await scene.process(*SENT, finish())
    answer = await events(scene, process, last="3")
    assert (answer.status, answer.body) == (204, b"")
    assert field(answer, "Strangler-Source") == "proxy"
    assert versions(await Reader(await events(scene, process)).rest()) == [3]
    assert versions(await Reader(await events(scene, process, last="2")).rest()) == [3]


@pytest.mark.parametrize("last", ["", "x", "-1", "1.0", " ", "99", "4", "1" * 30, "²"])
async def test_an_id_that_was_never_given_is_none(last: str) -> None:
    scene = Scene()
    process = await scene.process(*SENT, finish())
    assert versions(await Reader(await events(scene, process, last=last)).rest()) == [3]


def test_a_comment_comes_every_15_seconds_while_nothing_changes() -> None:
    async def follow() -> None:
        scene = Scene()
        process = await scene.process()
        loop = asyncio.get_running_loop()
        async with Reader(await events(scene, process)) as reader:
            await reader.next()
            begun = loop.time()
            for count in (1, 2, 3):
                await reader.comment()
                assert loop.time() - begun == pytest.approx(15 * count, abs=1)
            process = await scene.goes_on(process, Cancel())
            assert versions(await reader.rest()) == [2]

    run(follow())


def test_a_lost_signal_costs_time_and_not_the_truth() -> None:
    async def follow() -> float:
        scene = Scene()
        process = await scene.process()
        async with Reader(await events(scene, process)) as reader:
            await reader.next()
            begun = asyncio.get_running_loop().time()
            await scene.store.commit(settling(apply(process, Cancel(), scene.clock.now()), None, None))
            assert versions(await reader.rest()) == [2]
            return asyncio.get_running_loop().time() - begun

    seconds, _ = run(follow())
    assert seconds == pytest.approx(15, abs=1)


async def test_a_change_that_no_client_can_see_is_not_told() -> None:
    scene = Scene()
    process = await scene.process(*SENT)
    async with Reader(await events(scene, process)) as reader:
        assert (await reader.next()) is not None
        process = await scene.goes_on(process, Postpone(0, "refused"))
        process = await scene.goes_on(process, Claim("worker-1"))
        process = await scene.goes_on(process, finish())
        assert versions(await reader.rest()) == [3]


async def test_a_client_that_leaves_leaves_nothing_behind() -> None:
    scene = Scene()
    process = await scene.process()
    reader = Reader(await events(scene, process))
    await reader.next()
    assert scene.resources.open_streams() == {"events": 1, "list": 0, "socket": 0}
    assert scene.signals.watches
    async with reader:
        pass
    assert scene.resources.open_streams() == {"events": 0, "list": 0, "socket": 0}
    assert not scene.signals.watches


async def test_a_client_that_is_cut_off_while_it_waits_leaves_nothing_behind() -> None:
    scene = Scene()
    process = await scene.process()
    reader = Reader(await events(scene, process))
    await reader.next()
    waiting = asyncio.ensure_future(reader.next())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert not scene.signals.watches
    assert scene.resources.open_streams()["events"] == 0


async def test_a_server_that_goes_away_ends_its_streams_and_begins_no_more() -> None:
    scene = Scene()
    process = await scene.process()
    readers = [Reader(await events(scene, process)), Reader(await all_events(scene))]
    for reader in readers:
        await reader.next()
    waiting = [asyncio.ensure_future(reader.next()) for reader in readers]
    await asyncio.sleep(0)
    scene.streams.end()
    assert await asyncio.wait_for(asyncio.gather(*waiting), 10) == [None, None]
    assert await Reader(await events(scene, process)).rest() == []


async def test_a_store_that_cannot_be_read_ends_the_stream_so_that_the_client_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene()
    process = await scene.process()
    one, all_of_them = Reader(await events(scene, process)), Reader(await all_events(scene))
    assert await one.next()
    assert await all_of_them.next()

    async def refuse(*_: object) -> None:
        raise StoreUnavailable("the disk is gone")

    monkeypatch.setattr(scene.store, "process", refuse)
    monkeypatch.setattr(scene.store, "changes", refuse)
    scene.signals.hear(process.id, 100)
    assert await one.next() is None
    assert await all_of_them.next() is None
    assert scene.resources.open_streams() == {"events": 0, "list": 0, "socket": 0}


@pytest.mark.parametrize("headers", [(BOB,), ((b"Accept", b"text/event-stream"),)])
async def test_whoever_may_not_read_finds_no_stream(headers: tuple[Header, ...]) -> None:
    scene = Scene()
    process = await scene.process()
    for rest in ("/events", "/socket"):
        assert (await scene.ask("GET", process, rest, *headers)).status == 404
    assert (await scene.ask("POST", process, "/ticket", *headers)).status == 404


async def test_other_methods_are_refused() -> None:
    scene = Scene()
    process = await scene.process()
    for rest, method, allowed in (
        ("events", "POST", "GET, HEAD"),
        ("socket", "HEAD", "GET"),
        ("ticket", "GET", "POST"),
    ):
        answer = await scene.ask(method, process, f"/{rest}", ALICE)
        assert (answer.status, field(answer, "Allow")) == (405, allowed)


# ── All of a caller's ────────────────────────────────────────────────────────────────────────────────────────────────


def told(seen: list[Seen]) -> list[tuple[str, int]]:
    return [(one.data["id"], one.version) for one in seen]


async def some(reader: Reader, count: int) -> list[Seen]:
    found = [await asyncio.wait_for(reader.next(), 100) for _ in range(count)]
    return [one for one in found if one is not None]


async def test_what_has_not_ended_comes_first_then_each_change_of_any() -> None:
    scene = Scene()
    old = await scene.process()
    await scene.process(*SENT, finish())
    await scene.process(by=BOB)
    doubtful = await scene.process(*SENT, Doubt("timeout", False))
    async with Reader(await all_events(scene)) as reader:
        assert sorted(told(await some(reader, 2))) == sorted([(old.id, 1), (doubtful.id, 3)])
        new = await scene.process()
        scene.signals.hear(new.id, 1)
        assert told(await some(reader, 1)) == [(new.id, 1)]
        await scene.goes_on(doubtful, finish())
        await scene.process(*SENT, by=BOB)
        old = await scene.goes_on(old, Claim("worker-1"))
        seen = await some(reader, 2)
        assert told(seen) == [(doubtful.id, 4), (old.id, 2)]
        assert [one.event for one in seen] == ["final", "state"]
        assert scene.resources.open_streams()["list"] == 1
    assert scene.resources.open_streams()["list"] == 0
    assert not scene.signals.watches


async def test_a_resumed_stream_of_all_has_no_gap_and_no_repeat() -> None:
    scene = Scene()
    processes = [await scene.process() for _ in range(3)]
    async with Reader(await all_events(scene)) as reader:
        await some(reader, 3)
        await reader.settled()
        last = reader.last_id
    # While nobody listens:
    processes[1] = await scene.goes_on(processes[1], Claim("worker-1"))
    processes[1] = await scene.goes_on(processes[1], finish())
    processes[2] = await scene.goes_on(processes[2], Cancel())
    cut: list[tuple[str, int]] = []
    for _ in range(3):
        # One event at a time, cut after each.
        async with Reader(await all_events(scene, last=last)) as reader:
            (one,) = await some(reader, 1)
            cut += told([one])
            last = one.id
    assert cut == [(processes[1].id, 2), (processes[1].id, 3), (processes[2].id, 2)]
    async with Reader(await all_events(scene, last=last)) as reader:
        processes[0] = await scene.goes_on(processes[0], Claim("worker-1"))
        assert told(await some(reader, 1)) == [(processes[0].id, 2)]


async def test_a_cut_within_what_comes_first_begins_anew() -> None:
    scene = Scene()
    for _ in range(3):
        await scene.process()
    async with Reader(await all_events(scene)) as reader:
        assert [one.id for one in await some(reader, 2)] == [None, None]
    async with Reader(await all_events(scene, last="")) as reader:
        assert len(await some(reader, 3)) == 3


async def test_what_changes_while_the_first_ones_are_read_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    moving = await scene.process()
    ending = await scene.process()
    page = scene.store.page
    held = [moving, ending]

    async def slow(query: ListQuery) -> object:
        if held:
            one, other = held
            held.clear()
            await scene.goes_on(one, Claim("worker-1"))
            other = await scene.goes_on(other, Cancel())
        return await page(query)

    monkeypatch.setattr(scene.store, "page", slow)
    async with Reader(await all_events(scene)) as reader:
        seen = await some(reader, 2)
        assert told(seen) == [(moving.id, 2), (ending.id, 2)]
        assert reader.last_id is not None
    async with Reader(await all_events(scene, last=reader.last_id)) as reader:
        new = await scene.process()
        assert told(await some(reader, 1)) == [(new.id, 1)]


@pytest.mark.parametrize("last", ["1", "7-ABCDEF01", "x", "0-"])
async def test_a_mark_that_says_nothing_begins_anew_and_the_first_mark_of_all_sees_everything(last: str) -> None:
    scene = Scene()
    process = await scene.process(*SENT)
    async with Reader(await all_events(scene, last=last)) as reader:
        expected = [(process.id, 1), (process.id, 2)] if last == "0-" else [(process.id, 2)]
        assert told(await some(reader, len(expected))) == expected


async def test_who_was_away_for_too_long_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "MOST", 4)
    scene = Scene()
    await scene.process()
    async with Reader(await all_events(scene)) as reader:
        await some(reader, 1)
        await reader.settled()
    for _ in range(5):
        await scene.process()
    async with Reader(await all_events(scene, last=reader.last_id)) as reader:
        assert len(told(await some(reader, 6))) == 6


async def test_the_stream_of_all_needs_an_identity() -> None:
    answer = await all_events(Scene(), (b"Accept", b"text/event-stream"))
    assert answer.status == 401
    assert field(answer, "WWW-Authenticate") == "Bearer"


def test_the_stream_of_all_looks_by_itself_and_comments_every_15_seconds() -> None:
    async def follow() -> None:
        scene = Scene()
        async with Reader(await all_events(scene)) as reader:
            await reader.settled()
            await reader.comment()
            first = reader.last_id
            await scene.process(by=BOB)
            await reader.settled()
            assert reader.last_id != first, "a mark goes on with what others do"
            reading = asyncio.ensure_future(some(reader, 1))
            for _ in range(10):
                await asyncio.sleep(0)
            process = await scene.process()  # and nobody is told
            begun = asyncio.get_running_loop().time()
            assert told(await reading) == [(process.id, 1)]
            assert 1 < asyncio.get_running_loop().time() - begun <= 16

    run(follow())


def test_many_changes_cost_a_few_looks() -> None:
    async def follow() -> int:
        scene = Scene()
        looks = 0
        changes = scene.store.changes

        async def counted(*values: object) -> object:
            nonlocal looks
            looks += 1
            return await changes(*values)  # type: ignore[arg-type]

        scene.store.changes = counted  # type: ignore[method-assign,assignment]
        loop = asyncio.get_running_loop()
        async with Reader(await all_events(scene)) as reader:
            await reader.settled()
            until = loop.time() + 2
            heard: list[Seen] = []
            reading = asyncio.ensure_future(_all(reader, heard))
            count = 0
            while loop.time() < until:
                process = await scene.process()
                scene.signals.hear(process.id, 1)
                count += 1
                await asyncio.sleep(0.01)
            while len(heard) < count:
                await asyncio.sleep(0.01)
            reading.cancel()
            await asyncio.wait((reading,))
            assert len({one.data["id"] for one in heard}) == count == len(heard)
        return looks

    looks, _ = run(follow())
    assert looks < 20, "two seconds at four looks each, and those before"


async def _all(reader: Reader, heard: list[Seen]) -> None:
    while (one := await reader.next()) is not None:
        heard.append(one)
