"""The table of transitions: what may follow what, and that row and history stay of one mind whatever comes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from strangler.domain.errors import IllegalTransition
from strangler.domain.history import Told, tale
from strangler.domain.process import FINAL, Effect, Process, PublicState, State
from strangler.domain.steps import (
    Accept,
    Cancel,
    Claim,
    Doubt,
    Expire,
    Finish,
    Follow,
    Postpone,
    Probed,
    Promised,
    Report,
    Result,
    Resume,
    Transition,
)
from strangler.domain.transitions import TABLE, Change, apply
from tests.domain.drafts import ACCEPT, CLAIM, DONE, NOON, a_draft, walk

TO_EACH_STATE: dict[State, tuple[Transition, ...]] = {
    State.RECEIVED: (ACCEPT,),
    State.PROCESSING: (ACCEPT, CLAIM),
    State.WAITING: (ACCEPT, CLAIM, Postpone(NOON + 9, "refused")),
    State.FOLLOWING: (ACCEPT, CLAIM, Follow(NOON + 9, "/jobs/1", NOON + 99, "202")),
    State.IN_DOUBT: (ACCEPT, CLAIM, Doubt("lost", settling=False)),
    State.COMPLETED: (ACCEPT, CLAIM, DONE),
    State.REJECTED: (ACCEPT, CLAIM, Finish(State.REJECTED, Effect.NONE)),
    State.FAILED: (ACCEPT, CLAIM, Finish(State.FAILED, Effect.UNKNOWN)),
    State.CANCELLED: (ACCEPT, Cancel()),
    State.EXPIRED: (ACCEPT, Expire()),
}
ALL: list[Transition] = [
    ACCEPT,
    CLAIM,
    Postpone(NOON, "x"),
    Doubt("x", settling=True),
    Doubt("x", settling=False),
    Resume(NOON),
    Probed(NOON, "x"),
    Follow(NOON, "/jobs/1", NOON + 9, "202"),
    Report("ASSESSING", "with the assessor"),
    Promised(),
    DONE,
    Finish(State.REJECTED, Effect.NONE),
    Finish(State.FAILED, Effect.UNKNOWN),
    Cancel(),
    Expire(),
]


@pytest.mark.parametrize("state", sorted(FINAL))
@pytest.mark.parametrize("transition", ALL, ids=repr)
def test_final_means_final(state: State, transition: Transition) -> None:
    process, _ = walk(*TO_EACH_STATE[state])
    with pytest.raises(IllegalTransition):
        apply(process, transition, NOON)


@pytest.mark.parametrize("state", [state for state in TO_EACH_STATE if state not in FINAL])
@pytest.mark.parametrize("transition", ALL, ids=repr)
def test_only_what_the_table_knows_happens(state: State, transition: Transition) -> None:
    process, _ = walk(*TO_EACH_STATE[state])
    try:
        change = apply(process, transition, NOON)
    except IllegalTransition:
        return
    assert change.process.state in TABLE[state][type(transition)]


ASKED = Doubt("lost", settling=True, due_at=NOON + 9)
LEFT = Doubt("lost", settling=False)


@pytest.mark.parametrize(
    ("before", "refused"),
    [
        ((ACCEPT, CLAIM, Postpone(NOON + 9, "refused")), LEFT),
        ((ACCEPT, CLAIM, ASKED), ASKED),
        ((ACCEPT, CLAIM, LEFT), LEFT),
        ((ACCEPT, CLAIM, LEFT), ASKED),
        ((ACCEPT, CLAIM, LEFT), Probed(NOON + 9, "x")),
        ((ACCEPT, CLAIM), replace(LEFT, due_at=NOON + 9)),
        (TO_EACH_STATE[State.FOLLOWING], ASKED),
    ],
)
def test_a_doubt_begins_where_something_may_have_been_done_and_goes_from_settling_to_a_person_and_never_back(
    before: tuple[Transition, ...], refused: Transition
) -> None:
    process, _ = walk(*before)
    with pytest.raises(IllegalTransition):
        apply(process, refused, NOON)


def test_how_often_the_upstream_was_asked_counts_for_each_attempt_in_doubt_anew() -> None:
    asked, _ = walk(ACCEPT, CLAIM, ASKED, Probed(NOON + 20, "x"), Probed(NOON + 30, "x"))
    assert asked.probes == 2
    again = apply(apply(asked, Resume(NOON + 30, absent=True), NOON).process, CLAIM, NOON).process
    assert apply(again, ASKED, NOON).process.probes == 0
    assert apply(asked, LEFT, NOON).process.probes == 2  # the same attempt still


def test_what_was_sent_and_is_unresolved_can_neither_be_cancelled_nor_expire() -> None:
    process, _ = walk(ACCEPT, CLAIM, Doubt("lost", settling=True), Resume(NOON + 9))
    assert process.state is State.WAITING
    for transition in (Cancel(), Expire()):
        with pytest.raises(IllegalTransition):
            apply(process, transition, NOON)
    assert apply(process, Doubt("deadline-passed", settling=False), NOON).process.state is State.IN_DOUBT


def test_a_draft_that_was_postponed_can_still_be_cancelled() -> None:
    process, _ = walk(*TO_EACH_STATE[State.WAITING])
    assert apply(process, Cancel("changed my mind"), NOON).process.effect is Effect.NONE


def test_repeated_attempts_are_not_public() -> None:
    process, _ = walk(ACCEPT, CLAIM)
    again, _ = walk(ACCEPT, CLAIM, Postpone(NOON + 9, "refused"), CLAIM, Postpone(NOON + 10, "refused"), CLAIM)
    assert (again.version, again.updated_at) == (process.version, process.updated_at) == (2, NOON + 1)
    assert again.sequence == 6
    assert (again.tries, again.attempts) == (3, 1)


def test_each_public_change_has_one_outbox_row_that_can_be_joined_by_its_names() -> None:
    change = apply(None, ACCEPT, NOON).then(CLAIM, NOON + 1).then(DONE, NOON + 2)
    assert [(row.aggregatetype, row.aggregateid, row.type) for row in change.outbox] == [
        ("process", change.process.id, f"ClaimSubmission.{state}") for state in ("received", "processing", "completed")
    ]
    assert [json.loads(row.payload)["version"] for row in change.outbox] == [1, 2, 3]
    assert len({row.id for row in change.outbox}) == 3


def test_unconfirmed_is_said_only_when_a_person_has_to_settle_it() -> None:
    settling, _ = walk(ACCEPT, CLAIM, Doubt("lost", settling=True))
    assert (settling.public_state, settling.effect, settling.reason) == (PublicState.PROCESSING, None, None)
    left, _ = walk(ACCEPT, CLAIM, Doubt("lost", settling=True), Doubt("lost", settling=False))
    assert (left.public_state, left.effect, left.reason) == (PublicState.UNCONFIRMED, Effect.UNKNOWN, "lost")


def test_what_the_upstream_took_is_processing_and_can_neither_be_cancelled_nor_repeated() -> None:
    process, _ = walk(*TO_EACH_STATE[State.FOLLOWING])
    assert (process.public_state, process.due_at, process.owner) == (PublicState.PROCESSING, NOON + 9, None)
    assert (process.follow_target, process.over_at, process.queued) == ("/jobs/1", NOON + 99, False)
    for transition in (Cancel(), Expire(), CLAIM, Resume(NOON), Doubt("lost", settling=True)):
        with pytest.raises(IllegalTransition):
            apply(process, transition, NOON)
    assert apply(process, Doubt("follow-over", settling=False), NOON).process.public_state is PublicState.UNCONFIRMED


def test_looking_again_is_not_public_but_a_new_word_of_the_domain_is() -> None:
    process, _ = walk(*TO_EACH_STATE[State.FOLLOWING])
    again = apply(process, Follow(NOON + 20, "/jobs/1", NOON + 99, "202"), NOON + 10)
    assert (again.process.version, again.outbox) == (process.version, ())
    told = apply(again.process, Follow(NOON + 30, "/jobs/1", NOON + 99, "202", "ASSESSING", "half way"), NOON + 20)
    assert (told.process.version, told.process.status, told.process.reason) == (3, "ASSESSING", "half way")
    kept = apply(told.process, Follow(NOON + 40, "/jobs/1", NOON + 99, "202"), NOON + 30).process
    assert (kept.version, kept.status, kept.reason) == (3, "ASSESSING", "half way")


@pytest.mark.parametrize("state", [state for state in TO_EACH_STATE if state not in FINAL])
def test_progress_is_public_and_changes_nothing_but_what_is_told(state: State) -> None:
    process, _ = walk(*TO_EACH_STATE[state])
    change = apply(process, Report("ASSESSING", "with the assessor"), NOON + 50)
    told = change.process
    assert (told.state, told.status, told.reason) == (state, "ASSESSING", "with the assessor")
    assert (told.version, len(change.outbox)) == (process.version + 1, 1)
    assert (told.fence, told.owner, told.due_at) == (process.fence, process.owner, process.due_at)


@pytest.mark.parametrize("state", [state for state in TO_EACH_STATE if state not in FINAL])
def test_a_promise_is_given_once_and_changes_nothing_that_a_client_sees(state: State) -> None:
    process, events = walk(Accept(a_draft(promised=False)), *TO_EACH_STATE[state][1:])
    change = apply(process, Promised(), NOON + 50)
    after = change.process
    assert (after.promised, change.outbox, change.deliveries) == (True, (), ())
    assert process == after._replace(promised=False, sequence=process.sequence, head=process.head)
    wrong, told = tale([*events, *change.events])
    assert (wrong, told.process if told is not None else None) == (None, after)
    with pytest.raises(IllegalTransition):
        apply(after, Promised(), NOON + 51)


def test_an_interim_word_outlives_a_repeat_but_not_the_doubt_that_a_person_has_to_settle() -> None:
    told = walk(ACCEPT, CLAIM, Report("ASSESSING", "half way"), Doubt("lost", settling=True), Resume(NOON + 9), CLAIM)[
        0
    ]
    assert (told.status, told.reason, told.version) == ("ASSESSING", "half way", 3)
    left = apply(told, Doubt("lost", settling=False), NOON + 20).process
    assert (left.status, left.reason) == (None, "lost")
    seen = apply(left, Report("UNDER_REVIEW"), NOON + 21).process
    assert (seen.public_state, seen.status, seen.reason) == (PublicState.UNCONFIRMED, "UNDER_REVIEW", "lost")


@pytest.mark.parametrize("references", [None, '{"claim":"C-1"}'])
def test_the_history_begins_with_the_acceptance_and_with_what_is_known(references: str | None) -> None:
    process, (begin,) = walk(replace(ACCEPT, business_references=references))
    content = json.loads(begin.content)
    assert (content["transition"], content["from"], content["to"]) == ("Accept", None, "received")
    assert None not in content["set"].values()
    assert content["set"].get("business_references") == references == process.business_references


@pytest.mark.parametrize(("settling", "note"), [(True, "lost"), (False, None)])
def test_why_a_call_is_in_doubt_is_noted_until_a_person_is_told(settling: bool, note: str | None) -> None:
    process, events = walk(ACCEPT, CLAIM, Doubt("lost", settling=settling))
    assert json.loads(events[-1].content).get("note") == note
    assert process.reason == (None if settling else "lost")


def test_what_did_nothing_does_not_settle_an_attempt_before_it() -> None:
    lost = (CLAIM, Doubt("lost", settling=True))
    one, _ = walk(ACCEPT, *lost, Resume(NOON + 9, absent=True))
    assert (one.attempts, one.unresolved) == (0, False)
    two, _ = walk(ACCEPT, *lost, Resume(NOON + 9), *lost, Resume(NOON + 9, absent=True))
    assert (two.attempts, two.unresolved) == (1, True)


@pytest.mark.parametrize("settling", [False, True])
def test_at_its_end_nothing_of_a_process_is_unresolved(settling: bool) -> None:
    doubted, _ = walk(ACCEPT, CLAIM, Doubt("lost", settling=settling))
    assert (doubted.unresolved, doubted.settling) == (True, settling)
    ended = apply(doubted, Finish(State.FAILED, Effect.UNKNOWN), NOON + 9).process
    assert (ended.unresolved, ended.settling, ended.due_at, ended.owner) == (False, False, None, None)
    assert (ended.result_status, ended.result_kept) == (None, False)


def test_an_interim_word_ends_with_the_process() -> None:
    for end in (DONE, Finish(State.FAILED, Effect.UNKNOWN)):
        assert walk(ACCEPT, CLAIM, Report("ASSESSING"), end)[0].status is None
    for end in (Cancel(), Expire()):
        assert walk(ACCEPT, Report("WAITING_FOR_NIGHT"), end)[0].status is None


def shown(process: Process) -> tuple[object, ...]:
    """What a client can see change."""
    return process.public_state, process.status, process.reason, process.effect


class Life(RuleBasedStateMachine):
    """Any sequence of legal transitions keeps row and history of one mind."""

    def __init__(self) -> None:
        super().__init__()
        change = apply(None, Accept(a_draft(promised=False)), NOON)
        self.process = change.process
        self.events = [*change.events]
        self.outbox = [*change.outbox]
        self.now = NOON
        self.finals = 0

    def _apply(self, transition: Transition) -> None:
        self.now += 1
        before = self.process
        try:
            change: Change = apply(before, transition, self.now)
        except IllegalTransition:
            return
        assert (len(change.outbox) == 1) == (shown(change.process) != shown(before))
        self.process = change.process
        self.events += change.events
        self.outbox += change.outbox
        self.finals += change.process.final

    @rule(owner=st.sampled_from(["a", "b"]))
    def claim(self, owner: str) -> None:
        self._apply(Claim(owner))

    @rule(later=st.integers(0, 10**6))
    def postpone(self, later: int) -> None:
        self._apply(Postpone(self.now + later, "refused"))

    @rule(settling=st.booleans(), reason=st.text(max_size=5))
    def doubt(self, settling: bool, reason: str) -> None:
        self._apply(Doubt(reason, settling))

    @rule(later=st.integers(0, 10**6), status=st.none() | st.text(min_size=1, max_size=5))
    def follow(self, later: int, status: str | None) -> None:
        self._apply(Follow(self.now + later, "/jobs/1", self.now + 10**7, "202", status))

    @rule(status=st.text(min_size=1, max_size=5), reason=st.none() | st.text(max_size=5))
    def report(self, status: str, reason: str | None) -> None:
        self._apply(Report(status, reason))

    @rule()
    def promised(self) -> None:
        self._apply(Promised())

    @rule()
    def resume(self) -> None:
        self._apply(Resume(self.now))

    @rule(
        state=st.sampled_from([State.COMPLETED, State.REJECTED, State.FAILED]),
        effect=st.sampled_from(Effect),
        reason=st.none() | st.text(max_size=5),
    )
    def finish(self, state: State, effect: Effect, reason: str | None) -> None:
        self._apply(Finish(state, effect, None, reason, Result(200, None, 0, kept=True)))

    @rule()
    def cancel(self) -> None:
        self._apply(Cancel())

    @precondition(lambda self: self.process.state is State.WAITING)
    @rule()
    def expire(self) -> None:
        self._apply(Expire())

    @invariant()
    def the_history_is_the_process(self) -> None:
        assert tale(self.events) == (None, Told(self.process, tuple(self.outbox), ()))
        assert self.events[-1].digest == self.process.head

    @invariant()
    def each_public_version_has_one_row_in_the_outbox(self) -> None:
        assert [json.loads(row.payload)["version"] for row in self.outbox] == [*range(1, self.process.version + 1)]

    @invariant()
    def there_is_at_most_one_end(self) -> None:
        assert self.finals <= 1
        assert (self.process.finished_at is not None) == self.process.final

    @invariant()
    def only_what_is_under_way_has_an_owner_and_only_what_waits_is_due(self) -> None:
        assert (self.process.owner is not None) == (self.process.state is State.PROCESSING)
        due = (State.RECEIVED, State.WAITING, State.FOLLOWING)
        assert (self.process.due_at is not None) == (self.process.state in due)

    @invariant()
    def only_what_is_in_doubt_is_being_settled(self) -> None:
        assert not self.process.settling or self.process.state is State.IN_DOUBT

    @invariant()
    def attempts_that_may_have_had_an_effect_are_counted(self) -> None:
        assert 0 <= self.process.attempts <= self.process.tries == self.process.fence


Life.TestCase.settings = settings(max_examples=150, stateful_step_count=25)
test_any_life_keeps_row_and_history_of_one_mind = Life.TestCase
