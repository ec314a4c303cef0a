"""What workers share: who asks about a process, and who is told of what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from strangler.domain.delivery import FINAL_STATES, Delivery, Subscription, write_subscriptions
from strangler.domain.process import Effect, PublicState, State
from strangler.domain.steps import Claim, Finish
from strangler.domain.transitions import apply
from strangler.engine.latencies import Latencies
from strangler.engine.wakes import LONGEST
from strangler.operations.logs import Logs
from strangler.operations.telemetry import Telemetry
from strangler.operations.totals import Snapshot
from strangler.ports import Commit, KeyTaken, Lease, QueueLimit
from strangler.runtime.hub import Hub
from strangler.store.remote.frames import Frames, frame
from strangler.store.remote.host import Guest
from strangler.store.remote.messages import Told, pack_item, told_of, unpack_verdict
from strangler.store.sealing import AesGcmSealer
from strangler.store.sqlite.library import choose_library
from strangler.store.sqlite.rows import written
from strangler.store.sqlite.store import SqliteStore
from tests.engine.alarms import alarms_of
from tests.harness.waiting import eventually
from tests.runtime.test_following import loaded
from tests.store import builders as make
from tests.store.builders import FakeClock


class Ear(Guest):
    """A worker that keeps what it is told."""

    def __init__(self, hub: Hub, owner: str, revision: str = "") -> None:
        super().__init__(hub)
        self.told: list[tuple[Any, ...]] = []
        self.is_slow = False
        hub.heard(self, ("hello", owner, revision, []))

    @property
    def slow(self) -> bool:
        return self.is_slow

    def tell(self, *message: Any) -> None:
        self.told.append(message)

    def all(self, kind: str) -> list[tuple[Any, ...]]:
        return [message for message in self.told if message[0] == kind]


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    clock = FakeClock()
    store = SqliteStore(tmp_path / "strangler.db", choose_library(), AesGcmSealer(b"k" * 32), clock)
    telemetry = Telemetry(Logs(lambda data: None), version="1", started_at=0)
    yield Hub(store, clock, telemetry, Latencies(store))
    await store.close()


def accepted() -> Told:
    change = make.accept().change
    assert change is not None
    return told_of(change)


def postponed(due_at: int) -> Told:
    change = make.postpone(make.after(make.claim(make.after(make.accept()))), due_at).change
    assert change is not None
    return told_of(change)


def followed(due_at: int) -> Told:
    change = make.follow(make.after(make.claim(make.after(make.accept()))), due_at, make.NOON + make.DAY).change
    assert change is not None
    return told_of(change)


async def test_what_a_worker_has_committed_for_receivers_is_handed_over_as_it_is(hub: Hub) -> None:
    to_all = Subscription("broker-b", "https://b.example/hook", FINAL_STATES | {PublicState.PROCESSING})
    wishes = write_subscriptions([Subscription("broker-a"), to_all])
    change = make.accept(make.draft(subscriptions=wishes)).change
    assert change is not None
    change = apply(change.then(Claim("w"), make.NOON).process, Finish(State.COMPLETED, Effect.APPLIED), make.NOON)
    made: list[tuple[Delivery, bool]] = []
    hub.deliver = lambda delivery, by_itself: made.append((delivery, by_itself))
    ((_, told),) = Frames().feed(frame([("told", tuple(told_of(change)))]))
    hub.committed(Ear(hub, "a"), Told._make(told))
    first, second = change.deliveries
    assert made == [(first, True), (second, False)]


async def test_one_worker_at_a_time_asks_about_a_process(hub: Hub) -> None:
    first, _ = Ear(hub, "a"), Ear(hub, "b")
    begin = hub.calls["begin_look"]
    assert await begin("a", "p")
    assert not await begin("b", "p")
    assert await begin("b", "q")
    hub.heard(first, ("end_look", "q"))  # not its own
    assert not await begin("a", "q")
    hub.heard(first, ("end_look", "p"))
    assert await begin("b", "p")
    await hub.gone("b")
    assert await begin("a", "p")


async def test_what_a_worker_asked_about_when_its_connection_broke_others_may_ask_about(hub: Hub) -> None:
    first, _ = Ear(hub, "a"), Ear(hub, "b")
    begin = hub.calls["begin_look"]
    assert await begin("a", "p")
    hub.left(first)  # and the end of its question is said to nobody
    Ear(hub, "a")
    assert await begin("b", "p")


async def test_a_worker_in_its_first_term_knows_what_was_lent_to_it_before_it_was_heard(hub: Hub) -> None:
    first = Ear(hub, "a")
    hub.heard(first, ("want", "r", 3, 3))
    await eventually(lambda: first.all("lend"))
    first.told.clear()
    hub.heard(first, ("hold", "", [("r", 3, 0)]))
    hub.heard(first, ("want", "r", 3, 2))
    await eventually(lambda: first.all("lend"))
    assert first.told == [("held",), ("lend", "r", 2)]


async def test_a_change_is_told_to_all_but_the_one_who_made_it_and_due_work_too(hub: Hub) -> None:
    first, second = Ear(hub, "a"), Ear(hub, "b")
    told = accepted()
    first.told.clear()
    second.told.clear()
    hub.committed(first, told)
    await eventually(lambda: second.told)
    queues = {told.route: (1, told.body_size)}
    assert second.all("news") == [("news", [(told.process_id, told.sequence)], queues, [told.route])]
    assert first.all("news") == [("news", [], queues, [])]


async def test_who_is_slow_is_told_no_news_and_hears_of_it_when_it_has_caught_up(hub: Hub) -> None:
    first, second = Ear(hub, "a"), Ear(hub, "b")
    second.told.clear()
    second.is_slow = True
    hub.committed(first, accepted())
    await eventually(lambda: second.missed)
    assert second.told == []
    second.is_slow = False
    hub.caught_up(second)
    assert second.told[0] == ("missed",)
    assert second.told[1][2] == {"submit-claim": (1, accepted().body_size)}
    hub.caught_up(second)
    assert len(second.told) == 2


async def test_a_worker_whose_lease_ran_out_is_lent_nothing_until_it_says_what_it_holds(hub: Hub) -> None:
    clock: Any = hub._clock
    first, second = Ear(hub, "a"), Ear(hub, "b")
    await hub.renew(Lease("a", clock.boot_id, clock.boottime() + 10))
    hub.heard(first, ("want", "r", 3, 3))
    await eventually(lambda: first.all("lend") == [("lend", "r", 3)])
    clock.nanoseconds += 11
    hub.look_at_leases()
    assert second.all("restock") == [("restock",)]
    hub.heard(first, ("want", "r", 3, 1))
    hub.heard(second, ("want", "r", 3, 2))
    assert second.all("lend") == [("lend", "r", 2)]
    assert len(first.all("lend")) == 1
    hub.heard(first, ("hold", "", [("r", 3, 0)]))
    hub.heard(first, ("want", "r", 3, 3))
    await eventually(lambda: first.all("lend")[1:] == [("lend", "r", 1)])


async def test_a_worker_that_renews_its_lease_too_late_is_lent_nothing_until_it_says_what_it_holds(hub: Hub) -> None:
    clock: Any = hub._clock
    first, second = Ear(hub, "a"), Ear(hub, "b")
    await hub.renew(Lease("b", clock.boot_id, clock.boottime() + 100))
    await hub.renew(Lease("a", clock.boot_id, clock.boottime() + 10))
    hub.heard(first, ("want", "r", 3, 1))
    await eventually(lambda: first.all("lend") == [("lend", "r", 1)])
    hub.heard(second, ("want", "r", 3, 2))
    hub.heard(first, ("want", "r", 3, 1))  # none is left for it now
    clock.nanoseconds += 10  # and nobody has looked at the leases since
    assert await hub.renew(Lease("a", clock.boot_id, clock.boottime() + 10)) == clock.boottime()
    hub.heard(second, ("give_back", "r", 2))
    assert len(first.all("lend")) == 1, "it would have more than it is going to say"
    assert second.all("restock") == [("restock",)]
    hub.heard(first, ("hold", "", [("r", 3, 0)]))
    hub.heard(first, ("want", "r", 3, 3))
    await eventually(lambda: first.all("lend")[1:] == [("lend", "r", 3)])
    await hub.renew(Lease("a", clock.boot_id, clock.boottime() + 10))
    hub.heard(first, ("give_back", "r", 1))
    hub.heard(first, ("want", "r", 3, 1))
    assert first.all("lend")[2:] == [("lend", "r", 1)], "renewed in time, it goes on"


async def test_a_worker_that_is_gone_is_short_of_nothing_and_takes_nothing_whatever_it_still_said(hub: Hub) -> None:
    first, second = Ear(hub, "a"), Ear(hub, "b")
    hub.heard(first, ("serving",))
    hub.heard(first, ("memory", "900 MiB are in use"))
    hub.heard(first, ("want", "r", 3, 1))
    counted = Snapshot({}, {"execute": 1}, 0, {}, {})
    hub.heard(first, ("counted", tuple(counted)))
    await hub.gone("a")
    assert (hub.serving, hub.short_of_memory) == (0, {})
    # What lay in its socket when its end was told is read after that.
    hub.heard(first, ("serving",))
    hub.heard(first, ("memory", "900 MiB are in use"))
    hub.heard(first, ("want", "r", 3, 3))
    hub.heard(first, ("hold", "", [("r", 3, 3)]))
    hub.heard(first, ("counted", tuple(counted)))
    assert not await hub.calls["begin_look"]("a", "p")
    hub.left(first)
    assert (hub.serving, hub.short_of_memory) == (0, {})
    assert hub.totals.counts().defects == {"execute": 1}
    late = Ear(hub, "a")  # and what it said to a store process that was new then
    hub.heard(late, ("hello", "a", "", [("r", 3, 3)]))
    hub.left(late)
    hub.heard(second, ("want", "r", 3, 3))
    assert second.all("lend") == [("lend", "r", 3)]


async def test_the_last_renewal_of_a_worker_that_is_gone_does_not_make_its_lease_valid_again(hub: Hub) -> None:
    clock: Any = hub._clock
    accepted = make.accept()
    assert accepted.change is not None
    await hub.store.commit(accepted)
    await hub.store.commit(make.claim(accepted.change.process, "a"))
    lease = Lease("a", clock.boot_id, clock.boottime() + 10)
    await hub.renew(lease)

    async def orphans() -> list[str]:
        return [orphan.id for orphan in await hub.store.orphans(clock.boot_id, clock.boottime(), 5)]

    assert await orphans() == []
    await hub.gone("a")
    await hub.renew(lease)  # it lay in its socket when its end was told
    assert await orphans() == [accepted.change.process.id]


async def test_what_a_worker_postpones_that_leaves_alone_the_others_are_told_when_it_is_due(hub: Hub) -> None:
    first, second = Ear(hub, "a"), Ear(hub, "b")
    hub.heard(first, ("leaving",))
    assert second.all("restock") == [("restock",)]
    for told in (postponed(make.NOON + 50), followed(make.NOON + 60)):
        second.told.clear()
        hub.committed(first, told)
        await eventually(lambda: ["submit-claim"] in [message[3] for message in second.all("news")])


async def test_what_no_worker_waits_for_is_told_by_the_clock_as_it_is_set_meanwhile(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock: Any = hub._clock
    alarms = alarms_of(monkeypatch)
    hub.wake("submit-claim", make.NOON + make.HOUR)
    clock.instant += make.HOUR
    alarms[0].ring()
    assert [alarm.seconds for alarm in alarms] == [LONGEST, 0.0]


@pytest.mark.parametrize("comes", [False, True])
async def test_slots_of_a_worker_that_was_frozen_when_the_store_process_was_replaced_are_lent_when_its_lease_is_over(
    comes: bool, hub: Hub
) -> None:
    clock: Any = hub._clock
    hub = Hub(hub.store, clock, hub._telemetry, hub._latencies, ["a", "b"])
    hub.expect(clock.boottime() + 10)
    first = Ear(hub, "a")
    await hub.renew(Lease("a", clock.boot_id, clock.boottime() + 20))
    if comes:  # and is frozen before it renews its lease
        hub.heard(Ear(hub, "b"), ("hello", "b", "", [("r", 3, 3)]))
    hub.heard(first, ("want", "r", 3, 3))
    clock.nanoseconds += 10
    hub.look_at_leases()
    assert first.all("lend") == []
    clock.nanoseconds += 1
    hub.look_at_leases()
    assert first.all("lend") == [("lend", "r", 3)]
    thawed = Ear(hub, "b")
    await hub.renew(Lease("b", clock.boot_id, clock.boottime() + 20))
    hub.heard(thawed, ("hold", "", []))
    hub.heard(first, ("give_back", "r", 1))
    hub.heard(thawed, ("want", "r", 3, 1))
    await eventually(lambda: thawed.all("lend") == [("lend", "r", 1)])


async def test_a_worker_that_was_away_is_lent_nothing_before_it_knows_what_is_promised(
    hub: Hub, tmp_path: Path
) -> None:
    hub.following.current = in_force = loaded(tmp_path, "claims")
    knows, away = Ear(hub, "a", in_force.table.revision), Ear(hub, "b")
    hub.heard(away, ("want", "r", 3, 3))
    await eventually(lambda: away.all("prepare"))
    assert away.all("lend") == []
    # Meanwhile nobody else has to give up anything for it.
    hub.heard(knows, ("want", "r", 3, 2))
    await eventually(lambda: knows.all("lend") == [("lend", "r", 2)])
    assert knows.all("recall") == []
    number = away.all("prepare")[0][1]
    hub.heard(away, ("prepared", number, []))
    await eventually(lambda: away.all("switch"))
    assert away.all("lend") == []
    hub.heard(away, ("switched", away.all("switch")[0][1], True))
    await eventually(lambda: away.all("lend") == [("lend", "r", 1)])


async def test_a_worker_that_cannot_load_what_is_in_force_is_lent_what_it_wants(hub: Hub, tmp_path: Path) -> None:
    hub.following.current = loaded(tmp_path, "claims")
    first = Ear(hub, "a")
    hub.heard(first, ("want", "r", 3, 3))
    await eventually(lambda: first.all("prepare"))
    hub.heard(first, ("prepared", first.all("prepare")[0][1], ["a file is missing"]))
    await eventually(lambda: first.all("lend") == [("lend", "r", 3)])


async def test_who_commits_hears_of_it_whatever_a_defect_makes_of_the_telling(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a defect")

    worker, commit = Ear(hub, "a"), make.accept()
    monkeypatch.setattr(hub._telemetry, "moved", broken)
    worker._commit(7, pack_item(written(commit, AesGcmSealer(b"k" * 32))), accepted(), None)
    await eventually(lambda: worker.all("done") == [("done", 7, None)])
    assert await hub.store.process(make.after(commit).id) is not None
    assert hub._telemetry.counts.defects == {"notify": 1}


async def test_no_more_wait_than_may_whoever_is_asked_at_the_same_time(hub: Hub) -> None:
    def commit(worker: Ear, number: int, one: Commit, within: QueueLimit) -> None:
        assert one.change is not None
        worker._commit(number, pack_item(written(one, AesGcmSealer(b"k" * 32))), told_of(one.change), tuple(within))

    first, second = Ear(hub, "a"), Ear(hub, "b")
    held = make.accept(make.keyed("held"))
    commit(first, 1, held, QueueLimit(9, 99))
    await eventually(lambda: first.all("done") == [("done", 1, None)])
    for number, worker in enumerate((first, second, first, second), 2):
        commit(worker, number, make.accept(), QueueLimit(3, 99))
    assert first.all("done") == [("done", 1, None), ("done", 4, True)], "told at once"
    await eventually(lambda: len(first.all("done") + second.all("done")) == 5)
    assert second.all("done") == [("done", 5, True), ("done", 3, None)]
    size = make.after(held).body_size
    commit(first, 6, make.accept(), QueueLimit(9, 4 * size - 1))
    assert first.all("done")[-1] == ("done", 6, True)
    commit(first, 7, make.accept(make.keyed("held")), QueueLimit(9, 4 * size))
    await eventually(lambda: first.all("done")[-1][1] == 7)
    assert unpack_verdict(first.all("done")[-1][2]) == KeyTaken(make.key_of(make.after(held)))
    commit(first, 8, make.accept(), QueueLimit(9, 4 * size))
    await eventually(lambda: first.all("done")[-1] == ("done", 8, None)), "what was not written took no place"
