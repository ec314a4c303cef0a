"""When calls were paused, and what that does to a deadline."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from strangler.domain.pause import Pause, over_at, paused_time, with_deadline
from strangler.domain.process import Process, State
from tests.store import builders as make
from tests.store.builders import HOUR, NOON

ROUTE = "submit-claim"


def process(**fields: object) -> Process:
    return make.draft(NOON, deadline_at=NOON + HOUR)._replace(**fields)


def test_without_pauses_a_deadline_is_what_was_promised() -> None:
    accepted = process()
    assert over_at(accepted, (), NOON + 5) == NOON + HOUR
    assert with_deadline(accepted, (), NOON + 5) == accepted


def test_only_what_was_paused_since_the_acceptance_counts() -> None:
    pauses = [Pause(ROUTE, NOON - 1000, NOON - 400), Pause(ROUTE, NOON - 100, NOON + 50), Pause(ROUTE, NOON + 60)]
    assert paused_time(pauses, NOON, NOON + 100) == 50 + 40


def test_while_calls_are_paused_the_deadline_recedes_with_the_clock() -> None:
    pauses = [Pause(ROUTE, NOON + 10)]
    assert [over_at(process(), pauses, NOON + after) - NOON - HOUR for after in (0, 10, 25, 2 * HOUR)] == [
        *(0, 0, 15, 2 * HOUR - 10)
    ]


def test_a_deadline_stays_as_it_was_at_the_end_of_the_process() -> None:
    ended = process(state=State.COMPLETED, finished_at=NOON + 30)
    pauses = [Pause(ROUTE, NOON + 10, NOON + 90)]
    assert with_deadline(ended, pauses, NOON + 20_000).deadline_at == NOON + HOUR + 20


def test_what_is_followed_is_asked_about_for_longer() -> None:
    followed = process(state=State.FOLLOWING, follow_until_at=NOON + 2 * HOUR, due_at=NOON + 5)
    assert over_at(followed, [Pause(ROUTE, NOON, NOON + 7)], NOON + 10) == NOON + 2 * HOUR + 7


@st.composite
def timelines(draw: st.DrawFn) -> tuple[list[Pause], int]:
    """Pauses that do not overlap, the last of which may go on, and an instant after all that has ended."""
    steps = draw(st.lists(st.integers(0, 500), max_size=12))
    at, pauses = NOON, []
    for begin, length in zip(steps[::2], steps[1::2], strict=False):
        pauses.append(Pause(ROUTE, at + begin, at + begin + length))
        at += begin + length
    if pauses and draw(st.booleans()):
        pauses[-1] = pauses[-1]._replace(ended_at=None)
    return pauses, at + draw(st.integers(0, 500))


@given(timelines(), st.integers(-100, 3000))
def test_it_is_the_milliseconds_in_which_nothing_could_be_called(timeline: tuple[list[Pause], int], since: int) -> None:
    pauses, now = timeline
    began = NOON + since
    paused = sum(
        any(p.began_at <= at < (now if p.ended_at is None else p.ended_at) for p in pauses) for at in range(began, now)
    )
    assert paused_time(pauses, began, now) == paused
