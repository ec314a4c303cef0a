"""Deliveries: what a change raises, the little table, and the schedule."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strangler.domain.delivery import (
    FINAL_STATES,
    TABLE,
    Delivery,
    DeliveryState,
    Hold,
    Missed,
    Redrive,
    Release,
    Spared,
    Subscription,
    Taken,
    Transition,
    apply,
    lane_of,
    parse_delivery_id,
    raised,
    read_subscriptions,
    receiver_of_lane,
    write_subscriptions,
)
from strangler.domain.errors import IllegalTransition
from strangler.domain.process import Effect, Process, PublicState, State
from strangler.domain.retry import Backoff
from strangler.domain.steps import Accept, Cancel, Claim, Doubt, Expire, Finish, Postpone, Report
from strangler.domain.transitions import apply as change
from tests.domain.drafts import NOON, a_draft

PROCESS = "01a3185c-5000-7000-8000-000000000001"
BACKOFF = Backoff(initial=5.0, factor=5.0, max=3600.0, jitter="none")


def a_delivery(**fields: Any) -> Delivery:
    return Delivery(PROCESS, 3, 0, "broker-a", None, PublicState.COMPLETED, NOON, due_at=NOON)._replace(**fields)


def missed(**fields: Any) -> Missed:
    return Missed(**{"reason": "500", "backoff": BACKOFF, "limit": 12, "chance": 0.0, **fields})


def a_process(*subscriptions: Subscription) -> Process:
    draft = a_draft(id=PROCESS, subscriptions=write_subscriptions(subscriptions))
    return change(None, Accept(draft), NOON).process


# ── What is raised ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_end_raises_one_delivery_for_each_subscription() -> None:
    named = Subscription("partners", "https://hooks.partner.example/x?y=1")
    received = a_process(Subscription("broker-a"), named)
    claimed = change(received, Claim("w"), NOON).process
    waiting = change(claimed, Postpone(NOON, "refused"), NOON).process
    in_doubt = change(claimed, Doubt("timeout", settling=False), NOON).process
    finish = Finish(State.REJECTED, Effect.NONE)
    for process, end in (
        (received, Cancel()),
        (received, Expire()),
        (waiting, Cancel()),
        (claimed, finish),
        (in_doubt, finish),
    ):
        ended = change(process, end, NOON + 7)
        assert [(d.receiver, d.url, d.position) for d in ended.deliveries] == [
            ("broker-a", None, 0),
            ("partners", "https://hooks.partner.example/x?y=1", 1),
        ]
        for delivery in ended.deliveries:
            assert delivery.told is ended.process.public_state
            assert (delivery.process_id, delivery.version) == (PROCESS, ended.process.version)
            assert (delivery.created_at, delivery.due_at) == (NOON + 7, NOON + 7)
            assert delivery.state is DeliveryState.PENDING


def test_nothing_before_the_end_raises_one_unless_the_subscription_says_so() -> None:
    assert change(a_process(Subscription("broker-a")), Claim("w"), NOON).deliveries == ()
    early = Subscription("broker-a", None, frozenset({PublicState.PROCESSING}))
    received = a_process(early)
    claimed = change(received, Claim("w"), NOON)
    assert [d.told for d in claimed.deliveries] == [PublicState.PROCESSING]
    # It is told of states, and not of every word about them.
    assert change(claimed.process, Report("HALF", None), NOON).deliveries == ()
    assert change(claimed.process, Finish(State.COMPLETED, Effect.APPLIED), NOON).deliveries == ()


def test_several_transitions_of_one_commit_raise_what_each_of_them_raises() -> None:
    both = Subscription("broker-a", None, FINAL_STATES | {PublicState.PROCESSING})
    made = change(a_process(both), Claim("w"), NOON).then(Finish(State.COMPLETED, Effect.APPLIED), NOON)
    assert [(d.told, d.version) for d in made.deliveries] == [
        (PublicState.PROCESSING, 2),
        (PublicState.COMPLETED, 3),
    ]


def test_a_process_without_subscriptions_raises_nothing() -> None:
    assert change(a_process(), Cancel(), NOON).deliveries == ()
    assert raised(None, a_process(), NOON) == ()


def test_the_usual_subscription_is_written_as_a_pair_and_another_one_with_its_states() -> None:
    some = Subscription("partners", "https://p.example/é", frozenset({PublicState.FAILED, PublicState.COMPLETED}))
    text = write_subscriptions([Subscription("broker-a"), some])
    assert text == '[["broker-a",null],["partners","https://p.example/é",["completed","failed"]]]'
    assert read_subscriptions(text) == (Subscription("broker-a"), some)
    assert write_subscriptions([]) is None


@pytest.mark.parametrize("text", ["{", "[1]", "[[1]]", '[["a",null,["gone"]]]', "null"])
def test_what_nobody_wrote_is_no_subscription(text: str) -> None:
    with pytest.raises(ValueError):
        read_subscriptions(text)


def test_the_name_of_a_delivery_is_one_that_webhooks_take_and_leads_back_to_it() -> None:
    delivery = a_delivery(version=12, position=3)
    assert "." not in delivery.id
    assert parse_delivery_id(delivery.id) == (PROCESS, 12, 3)
    assert parse_delivery_id(f"{PROCESS}-999999999-1") == (PROCESS, 999_999_999, 1)
    strange = (f"{PROCESS}-1", f"{PROCESS}-1-", f"{PROCESS}--1", f"{PROCESS}-1-²", f"{PROCESS}-9999999999-1", "-1-1")
    for text in ("", "x", PROCESS, *strange):
        assert parse_delivery_id(text) is None, text


def test_a_fixed_receiver_is_one_lane_and_named_urls_have_one_by_origin() -> None:
    assert lane_of("broker-a", None) == "broker-a"
    one = lane_of("partners", "https://a.partner.example/x/y?z")
    assert one == lane_of("partners", "https://a.partner.example?q=/1") == "partners https://a.partner.example"
    assert one != lane_of("partners", "https://a.partner.example:8443/x")
    assert one != lane_of("others", "https://a.partner.example/x/y?z")
    assert receiver_of_lane(one) == "partners"
    assert receiver_of_lane("broker-a") == "broker-a"


# ── The table ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_taken_delivery_has_ended() -> None:
    after = apply(a_delivery(attempts=2, tries=2, reason="500"), Taken(), NOON + 5)
    assert (after.state, after.due_at, after.ended_at) == (DeliveryState.DELIVERED, None, NOON + 5)
    assert (after.attempts, after.tries, after.reason) == (2, 3, None)


def test_the_schedule_grows_by_its_factor_up_to_its_maximum() -> None:
    delivery, waits = a_delivery(), []
    for _ in range(6):
        delivery = apply(delivery, missed(), NOON)
        assert delivery.due_at is not None
        waits.append((delivery.due_at - NOON) // 1000)
    assert waits == [5, 25, 125, 625, 3125, 3600]


def test_after_its_last_attempt_it_is_a_dead_letter_with_the_reason() -> None:
    after = apply(a_delivery(attempts=11, tries=30), missed(reason="connection refused"), NOON + 9)
    assert (after.state, after.ended_at, after.due_at) == (DeliveryState.DEAD, NOON + 9, None)
    assert (after.attempts, after.tries, after.reason) == (12, 31, "connection refused")


def test_a_limit_that_was_lowered_meanwhile_ends_it_too() -> None:
    assert apply(a_delivery(attempts=5), missed(limit=3), NOON).state is DeliveryState.DEAD


def test_the_wish_of_a_receiver_is_heeded_up_to_the_longest_step() -> None:
    def due(asked: int | None) -> int:
        after = apply(a_delivery(), missed(retry_after=asked), NOON)
        assert after.due_at is not None
        return after.due_at - NOON

    assert due(60_000) == 60_000
    assert due(1_000) == 5_000  # never sooner than the schedule
    assert due(365 * 86_400_000) == 3_600_000
    assert due(None) == 5_000


def test_a_fault_of_our_own_uses_up_nothing() -> None:
    delivery = a_delivery(attempts=11, tries=11)
    for number in range(100):
        delivery = apply(delivery, Spared("no file descriptor", NOON + number), NOON)
    assert (delivery.state, delivery.attempts, delivery.tries) == (DeliveryState.PENDING, 11, 111)
    assert (delivery.due_at, delivery.reason) == (NOON + 99, "no file descriptor")


def test_what_is_held_waits_for_its_release_and_goes_on_where_it_was() -> None:
    held = apply(a_delivery(attempts=4, tries=4), Hold("410", tried=True), NOON)
    assert (held.state, held.due_at, held.ended_at, held.tries) == (DeliveryState.HELD, None, None, 5)
    assert held.open
    released = apply(held, Release(), NOON + 100)
    assert (released.state, released.due_at, released.attempts) == (DeliveryState.PENDING, NOON + 100, 4)
    assert apply(a_delivery(), Hold("paused"), NOON).tries == 0


@pytest.mark.parametrize("state", [DeliveryState.DEAD, DeliveryState.DELIVERED, DeliveryState.PENDING])
def test_what_is_put_back_begins_anew_and_keeps_its_log(state: DeliveryState) -> None:
    ended = a_delivery(state=state, due_at=None, attempts=12, tries=12, ended_at=NOON, reason="500")
    back = apply(ended, Redrive(), NOON + 100)
    assert (back.state, back.due_at, back.ended_at) == (DeliveryState.PENDING, NOON + 100, None)
    assert (back.attempts, back.tries) == (0, 12)
    assert back.id == ended.id


TRANSITIONS: list[Transition] = [Taken(), missed(), Spared("ours", NOON), Hold("paused"), Release(), Redrive()]


@pytest.mark.parametrize("state", list(DeliveryState))
@pytest.mark.parametrize("transition", TRANSITIONS, ids=lambda transition: type(transition).__name__)
def test_nothing_but_what_the_table_knows_is_done(state: DeliveryState, transition: Transition) -> None:
    delivery = a_delivery(state=state)
    if type(transition) in TABLE[state]:
        after = apply(delivery, transition, NOON)
        assert after.state in TABLE[state][type(transition)]
        assert after.sequence == delivery.sequence + 1
    else:
        with pytest.raises(IllegalTransition):
            apply(delivery, transition, NOON)


transitions = st.one_of(
    st.just(Taken()),
    st.builds(
        Missed,
        reason=st.text(max_size=5),
        backoff=st.builds(
            Backoff,
            initial=st.floats(0.01, 100),
            factor=st.floats(1, 10),
            max=st.floats(0.01, 1e6),
            jitter=st.sampled_from(["full", "equal", "none"]),
        ),
        limit=st.integers(1, 20),
        chance=st.floats(0, 1, exclude_max=True),
        retry_after=st.none() | st.integers(0, 2**40),
    ),
    st.builds(Spared, reason=st.just("ours"), due_at=st.integers(NOON, NOON + 10_000)),
    st.builds(Hold, reason=st.just("paused"), tried=st.booleans()),
    st.just(Release()),
    st.just(Redrive()),
)


@given(st.lists(transitions, max_size=60))
def test_whatever_happens_an_open_delivery_is_due_or_held_and_nothing_is_lost(steps: list[Transition]) -> None:
    delivery, now = a_delivery(), NOON
    for step in steps:
        now += 1000
        if type(step) not in TABLE[delivery.state]:
            continue
        before, delivery = delivery, apply(delivery, step, now)
        assert (delivery.due_at is not None) == (delivery.state is DeliveryState.PENDING)
        assert (delivery.ended_at is not None) == (not delivery.open)
        assert delivery.sequence == before.sequence + 1
        assert delivery.tries >= before.tries
        assert delivery.id == before.id
        if isinstance(step, Missed) and delivery.due_at is not None:
            longest = 1000 * step.backoff.max
            assert now <= delivery.due_at <= now + longest + 1
            assert delivery.attempts == before.attempts + 1 < step.limit
        if isinstance(step, Spared | Hold | Release):
            assert delivery.attempts == before.attempts
