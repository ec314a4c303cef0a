"""A person settles what nobody knows: once, by whom and why is kept, and whoever is quicker wins."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exceptions import Action, ExceptionKind
from strangler.domain.process import Effect, Process, State, Tombstone
from strangler.domain.steps import Claim, Doubt, Expire, Postpone, Resume
from strangler.engine.exceptions import ExceptionDesk, OpenCounts, Refused, Remedy, Standing
from strangler.engine.resolving import Resolution, Resolved, Resolving, Unsettled
from strangler.ports import Commit, ExceptionEntry, ExceptionQuery, OpenException, Verdict
from tests.gateway.scene import SENT, Scene, finish

DOUBTED = (*SENT, Doubt("timeout after 60 s", settling=False))
FOUND = Resolution(state=State.COMPLETED, status="APPROVED", reason="see letter", evidence="register, entry 17")


class Counter(Scene):
    """The scene, with a desk for exceptions."""

    def __init__(self) -> None:
        super().__init__()
        self.woken: list[tuple[str, int]] = []
        self.redriven: list[ExceptionEntry] = []
        self.redrive_refusal: str | None = None
        self.on_hold: set[str] = set()
        self.resolving = Resolving(
            self.store,
            self.notifier,
            self.clock,
            self.pauses,
            lambda route, due_at: self.woken.append((route, due_at)),
            lambda route: route in self.on_hold,
        )
        self.desk = ExceptionDesk(
            self.store.exceptions, self.store, self.resolving, self.clock, self.pauses, self._redrive
        )

    async def _redrive(self, entry: ExceptionEntry, who: str, why: str) -> str | None:
        if self.redrive_refusal is None:
            self.redriven.append(entry)
        return self.redrive_refusal

    async def doubted(self) -> Process:
        return await self.process(*DOUBTED)

    async def opened(self, process: Process, kind: ExceptionKind) -> int:
        await self.store.exceptions.open(OpenException(process.id, kind, self.clock.now(), "look"))
        return await self.number(process, kind)

    async def number(self, process: Process, kind: ExceptionKind = "in_doubt") -> int:
        (entry,) = await self.store.exceptions.page(ExceptionQuery("all", kinds=(kind,), process_id=process.id))
        return entry.id

    async def whole(self, number: int) -> Standing:
        standing = await self.desk.one(number)
        assert standing is not None
        return standing


# ── The process ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_process_in_doubt_is_ended_by_a_person_and_nobody_has_to_look_any_more() -> None:
    counter = Counter()
    process = await counter.doubted()
    with counter.signals.watch(process.id) as watch:
        ended = await counter.resolving.end(process.id, FOUND, "ann", "the register has it")
        assert await watch.changed(process.sequence, 0)
    assert isinstance(ended, Process)
    assert (ended.state, ended.effect, ended.status, ended.reason) == (
        *(State.COMPLETED, Effect.APPLIED),
        *("APPROVED", "see letter"),
    )
    assert await counter.store.process(process.id) == ended
    entry, notes, actions = await counter.whole(await counter.number(process))
    assert (entry.closed_at, entry.closed_by, entry.action) == (counter.clock.now(), "ann", "complete")
    assert [(note.did, note.text) for note in notes] == [("closed", "the register has it")]
    assert actions == ()
    with counter.store.ledgers() as ledgers:
        ledger = ledgers.one(process.id)
    assert ledger is not None
    assert ledger.retain_until_at == counter.clock.now() + process.retain
    assert [(one.source, json.loads(one.body)) for one in ledger.evidence] == [
        ("operator", {"who": "ann", "why": "the register has it", "evidence": "register, entry 17"})
    ]


@pytest.mark.parametrize(
    ("state", "effect"),
    [(State.COMPLETED, Effect.APPLIED), (State.REJECTED, Effect.NONE), (State.FAILED, Effect.UNKNOWN)],
)
async def test_without_a_word_on_the_effect_it_is_the_usual_one(state: State, effect: Effect) -> None:
    counter = Counter()
    process = await counter.doubted()
    ended = await counter.resolving.end(process.id, Resolution(state=state), "ann", "asked")
    assert isinstance(ended, Process)
    assert (ended.state, ended.effect) == (state, effect)


async def test_an_effect_that_is_known_is_kept() -> None:
    counter = Counter()
    process = await counter.doubted()
    ended = await counter.resolving.end(process.id, Resolution(state=State.FAILED, effect=Effect.NONE), "ann", "asked")
    assert isinstance(ended, Process)
    assert ended.effect is Effect.NONE


async def test_what_is_going_to_be_settled_without_a_person_may_be_ended_and_is_not_repeated() -> None:
    counter = Counter()
    process = await counter.process(*SENT, Doubt("cut", settling=True))
    assert isinstance(await counter.resolving.repeat(process.id, "ann", "why wait"), Unsettled)
    ended = await counter.resolving.end(process.id, FOUND, "ann", "saw it")
    assert isinstance(ended, Process)
    assert ended.state is State.COMPLETED


@pytest.mark.parametrize("transitions", [(), SENT, (*SENT, Postpone(5, "429")), (*SENT, finish())])
async def test_what_is_not_in_doubt_is_not_settled_by_hand(transitions: tuple[object, ...]) -> None:
    counter = Counter()
    process = await counter.process(*transitions)  # type: ignore[arg-type]
    for done in (counter.resolving.end(process.id, FOUND, "a", "b"), counter.resolving.repeat(process.id, "a", "b")):
        refused = await done
        assert isinstance(refused, Unsettled)
        assert process.state in refused.why
    assert await counter.store.process(process.id) == process


@pytest.mark.parametrize("transitions", [(), (*SENT, Postpone(5, "429"))])
@pytest.mark.parametrize(
    ("state", "effect"),
    [(State.COMPLETED, Effect.APPLIED), (State.REJECTED, Effect.NONE), (State.FAILED, Effect.UNKNOWN)],
)
async def test_what_is_to_be_sent_is_ended_by_hand_once_its_route_is_on_hold(
    transitions: tuple[object, ...], state: State, effect: Effect
) -> None:
    counter = Counter()
    process = await counter.process(*transitions)  # type: ignore[arg-type]
    resolution = Resolution(state=state, evidence="register, entry 17")
    refused = await counter.resolving.end(process.id, resolution, "ann", "it is there")
    assert isinstance(refused, Unsettled)
    assert "on hold first" in refused.why
    counter.on_hold.add(process.route)
    ended = await counter.resolving.end(process.id, resolution, "ann", "it is there")
    assert isinstance(ended, Process)
    assert (ended.state, ended.effect, ended.due_at, ended.result_status) == (state, effect, None, None)
    assert ended.attempts == process.attempts


@pytest.mark.parametrize("transitions", [SENT, (*SENT, finish())])
async def test_what_is_with_the_legacy_system_is_not_ended_by_hand_on_hold_either(
    transitions: tuple[object, ...],
) -> None:
    counter = Counter()
    process = await counter.process(*transitions)  # type: ignore[arg-type]
    counter.on_hold.add(process.route)
    assert isinstance(await counter.resolving.end(process.id, FOUND, "ann", "saw it"), Unsettled)


async def test_a_process_that_nothing_is_going_to_settle_is_failed_by_hand() -> None:
    counter = Counter()
    process = await counter.process(*SENT)
    forsaken = process._replace(owner=None)
    counter.store._entries[process.id].process = forsaken
    ended = await counter.resolving.end(process.id, Resolution(state=State.FAILED), "ann", "nobody has it")
    assert isinstance(ended, Process)
    assert ended.state is State.FAILED


async def test_what_there_is_not_and_what_is_forgotten_is_not_settled() -> None:
    counter = Counter()
    assert await counter.resolving.end("no such id", FOUND, "ann", "asked") is None
    process = await counter.process(*SENT, finish())
    counter.clock.pass_(process.retain / 1000 + 1)
    await counter.store.sweep(counter.clock.now(), 10)
    assert isinstance(await counter.resolving.end(process.id, FOUND, "ann", "asked"), Tombstone)


async def test_what_surely_did_not_happen_is_called_again() -> None:
    counter = Counter()
    process = await counter.doubted()
    again = await counter.resolving.repeat(process.id, "ann", "the legacy team has no trace of it")
    assert isinstance(again, Process)
    assert (again.state, again.due_at, again.unresolved, again.attempts) == (
        *(State.WAITING, counter.clock.now()),
        *(False, 0),
    )
    assert counter.woken == [(process.route, counter.clock.now())]
    entry = (await counter.whole(await counter.number(process))).entry
    assert (entry.closed_by, entry.action) == ("ann", "repeat")


async def test_a_second_repeat_by_hand_is_done_and_what_it_did_stays_in_doubt() -> None:
    counter = Counter()
    process = await counter.doubted()
    again = await counter.resolving.repeat(process.id, "ann", "no trace")
    assert isinstance(again, Process)
    for transition in (Claim("worker-1"), Doubt("timeout", settling=False)):
        again = await counter.goes_on(again, transition)
    third = await counter.resolving.repeat(process.id, "ann", "no trace again")
    assert isinstance(third, Process)
    assert (third.state, third.unresolved) == (State.WAITING, True)


async def test_a_hold_moves_the_deadline_up_to_which_a_call_may_be_made_again() -> None:
    counter = Counter()
    process = await counter.doubted()
    counter.pauses.begin(process.route, counter.clock.now())
    counter.clock.instant = process.deadline_at + 60_000
    counter.pauses.end(process.route, counter.clock.now())
    assert Action.REPEAT in (await counter.whole(await counter.number(process))).actions
    again = await counter.resolving.repeat(process.id, "ann", "no trace")
    assert isinstance(again, Process)
    assert again.state is State.WAITING


async def test_past_its_deadline_a_call_is_not_made_again() -> None:
    counter = Counter()
    process = await counter.doubted()
    counter.clock.instant = process.deadline_at
    refused = await counter.resolving.repeat(process.id, "ann", "no trace")
    assert isinstance(refused, Unsettled)
    assert "deadline" in refused.why
    assert (await counter.whole(await counter.number(process))).actions == (
        *(Action.COMPLETE, Action.REJECT, Action.FAIL),
    )


# ── Races ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def before_the_commit(
    counter: Counter, first: Callable[[], Awaitable[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something else happens between the look at a process and the commit."""
    commit = counter.store.commit

    async def late(asked: Commit) -> Verdict:
        monkeypatch.setattr(counter.store, "commit", commit)
        await first()
        return await commit(asked)

    monkeypatch.setattr(counter.store, "commit", late)


async def test_a_reply_that_comes_at_the_same_moment_settles_it_and_the_person_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counter = Counter()
    process = await counter.doubted()
    before_the_commit(counter, lambda: counter.goes_on(process, finish(State.REJECTED, Effect.NONE)), monkeypatch)
    refused = await counter.resolving.end(process.id, FOUND, "ann", "the register has it")
    assert isinstance(refused, Unsettled)
    assert refused.process.state is State.REJECTED
    found = await counter.store.process(process.id)
    assert isinstance(found, Process)
    assert found.state is State.REJECTED


async def test_a_repeat_at_the_same_moment_keeps_it_from_being_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter()
    process = await counter.doubted()
    before_the_commit(counter, lambda: counter.goes_on(process, Resume(5)), monkeypatch)
    assert isinstance(await counter.resolving.end(process.id, FOUND, "ann", "saw it"), Unsettled)


async def test_progress_that_is_told_at_the_same_moment_does_not_keep_a_person_from_settling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counter = Counter()
    process = await counter.doubted()
    before_the_commit(counter, lambda: counter.commands.report(process.id, "ASSESSING", None), monkeypatch)
    ended = await counter.resolving.end(process.id, FOUND, "ann", "saw it")
    assert isinstance(ended, Process)
    assert ended.state is State.COMPLETED


async def test_of_many_people_who_settle_at_once_one_does() -> None:
    counter = Counter()
    process = await counter.doubted()
    states = (State.COMPLETED, State.REJECTED, State.FAILED) * 3
    outcomes = await asyncio.gather(
        *[counter.resolving.end(process.id, Resolution(state=state), f"op-{state}", "saw it") for state in states]
    )
    assert sum(isinstance(outcome, Process) for outcome in outcomes) == 1
    assert len((await counter.whole(await counter.number(process))).notes) == 1


async def test_where_the_store_refuses_nothing_is_settled() -> None:
    counter = Counter()
    process = await counter.doubted()
    counter.store.refuses = lambda commit: True
    with pytest.raises(StoreUnavailable):
        await counter.resolving.end(process.id, FOUND, "ann", "saw it")
    assert await counter.store.process(process.id) == process
    assert (await counter.whole(await counter.number(process))).entry.closed_at is None


async def test_an_operator_who_hangs_up_keeps_nobody_from_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter()
    process = await counter.doubted()
    on_disk = asyncio.Event()
    before_the_commit(counter, on_disk.wait, monkeypatch)
    asked: asyncio.Task[Resolved] = asyncio.ensure_future(counter.resolving.end(process.id, FOUND, "ann", "saw it"))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait([asked])
    with counter.signals.watch(process.id) as watch:
        on_disk.set()
        assert await watch.changed(process.sequence, 5)


# ── The queue ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_expired_promise_is_in_the_queue_until_somebody_has_seen_it() -> None:
    counter = Counter()
    process = await counter.process()
    counter.clock.instant = process.deadline_at
    await counter.goes_on(process, Expire())
    number = await counter.number(process, "expired")
    assert (await counter.whole(number)).actions == (Action.ACCEPT,)
    closed = await counter.desk.resolve(number, Remedy(action=Action.ACCEPT), "ann", "the client was called")
    assert isinstance(closed, Standing)
    assert (closed.entry.closed_by, closed.entry.action) == ("ann", "accept")
    assert await counter.desk.counts() == {}


async def test_what_expired_and_was_promised_to_nobody_is_not_in_the_queue() -> None:
    counter = Counter()
    process = await counter.process(promised=False)
    counter.clock.instant = process.deadline_at
    await counter.goes_on(process, Expire())
    assert await counter.desk.counts() == {}


@pytest.mark.parametrize(
    ("action", "state"),
    [
        (Action.COMPLETE, State.COMPLETED),
        (Action.REJECT, State.REJECTED),
        (Action.FAIL, State.FAILED),
        (Action.REPEAT, State.WAITING),
    ],
)
async def test_a_doubt_leaves_the_queue_by_settling_its_process(action: Action, state: State) -> None:
    counter = Counter()
    process = await counter.doubted()
    number = await counter.number(process)
    assert action in (await counter.whole(number)).actions
    closed = await counter.desk.resolve(number, Remedy(action=action), "ann", "found out")
    assert isinstance(closed, Standing)
    assert closed.entry.action == action
    found = await counter.store.process(process.id)
    assert isinstance(found, Process)
    assert found.state is state


async def test_a_doubt_is_not_accepted_as_it_is() -> None:
    counter = Counter()
    process = await counter.doubted()
    number = await counter.number(process)
    refused = await counter.desk.resolve(number, Remedy(action=Action.ACCEPT), "ann", "tired of it")
    assert refused == Refused("what may be done about it: complete, reject, fail, repeat")
    assert (await counter.whole(number)).entry.closed_at is None


async def test_an_exception_is_closed_once_and_who_comes_second_is_told_by_whom() -> None:
    counter = Counter()
    number = await counter.opened(await counter.process(*SENT, finish()), "late_reply")
    await counter.desk.resolve(number, Remedy(action=Action.ACCEPT), "ann", "seen")
    assert await counter.desk.resolve(number, Remedy(action=Action.ACCEPT), "bob", "seen") == Refused(
        "it was closed by ann (accept)"
    )
    assert await counter.desk.claim(number, "bob") == Refused("it was closed by ann (accept)")


async def test_a_receiver_is_tried_again_before_the_exception_is_closed() -> None:
    counter = Counter()
    number = await counter.opened(await counter.process(*SENT, finish()), "dead_delivery")
    counter.redrive_refusal = "its route is no longer in the policy"
    assert await counter.desk.resolve(number, Remedy(action=Action.REDRIVE), "ann", "it is up again") == Refused(
        "its route is no longer in the policy"
    )
    assert (await counter.whole(number)).entry.closed_at is None
    counter.redrive_refusal = None
    closed = await counter.desk.resolve(number, Remedy(action=Action.REDRIVE), "ann", "it is up again")
    assert isinstance(closed, Standing)
    assert closed.entry.action == "redrive"
    assert [entry.id for entry in counter.redriven] == [number]


async def test_people_take_exceptions_give_them_back_and_write_notes() -> None:
    counter = Counter()
    number = await counter.number(await counter.doubted())
    claimed = await counter.desk.claim(number, "ann")
    assert isinstance(claimed, Standing)
    assert claimed.entry.owner == "ann"
    assert isinstance(await counter.desk.claim(number, "bob"), Refused)
    noted = await counter.desk.note(number, "bob", "I know somebody there")
    assert isinstance(noted, Standing)
    released = await counter.desk.release(number, "ann", "off for today")
    assert isinstance(released, Standing)
    assert released.entry.owner is None
    assert [(note.who, note.did, note.text) for note in released.notes] == [
        ("ann", "claimed", ""),
        ("bob", "noted", "I know somebody there"),
        ("ann", "released", "off for today"),
    ]


async def test_what_there_is_not_is_none() -> None:
    counter = Counter()
    assert await counter.desk.one(99) is None
    assert await counter.desk.claim(99, "ann") is None
    assert await counter.desk.release(99, "ann", "x") is None
    assert await counter.desk.note(99, "ann", "x") is None
    assert await counter.desk.resolve(99, Remedy(action=Action.ACCEPT), "ann", "x") is None


async def test_what_is_open_is_counted_for_metrics_as_of_the_last_look() -> None:
    counter = Counter()
    counts = OpenCounts(counter.store.exceptions)
    await counter.doubted()
    await counter.doubted()
    assert counts.latest == {}
    await counts.look()
    assert counts.latest == {"in_doubt": 2}
