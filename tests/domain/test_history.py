"""Events, and the history that they make: it rebuilds its process, and what was done to it shows."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strangler.domain.events import Event, chain, event_id
from strangler.domain.history import tale
from strangler.domain.process import Effect, State
from strangler.domain.steps import Accept, Claim, Finish, Postpone
from strangler.domain.transitions import apply
from tests.domain.drafts import ACCEPT, CLAIM, DONE, NOON, a_draft, walk

HISTORY = walk(ACCEPT, CLAIM, Postpone(NOON + 9, "busy"), CLAIM, DONE)[1]


def test_a_history_rebuilds_its_process() -> None:
    process, events = walk(ACCEPT, CLAIM, Postpone(NOON + 9, "busy"), CLAIM, DONE)
    broken, told = tale(events)
    assert broken is None
    assert told is not None
    assert told.process == process


@pytest.mark.parametrize("index", range(len(HISTORY)))
def test_an_edited_event_shows(index: int) -> None:
    events = [*HISTORY]
    events[index] = events[index]._replace(content=events[index].content.replace('"at":18', '"at":19'))
    assert tale(events)[0] is not None


@pytest.mark.parametrize("index", range(len(HISTORY) - 1))
def test_a_removed_event_shows(index: int) -> None:
    assert tale([*HISTORY[:index], *HISTORY[index + 1 :]])[0] is not None


def resealed(events: list[Event]) -> list[Event]:
    """The events in a hash chain of their own, as somebody would forge it who knows how."""
    head, forged = b"", []
    for event in events:
        head = chain(head, event.content.encode())
        forged.append(event._replace(digest=head))
    return forged


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"from":"received"', '"from":"waiting"', "event 2 starts from waiting, the one before ended in received"),
        ('"to":"processing"', '"to":"waiting"', "event 2: no transition leads from received to waiting"),
        ('"sequence":2', '"sequence":3', "event 2 belongs to another process or place"),
        ('"id":"01a3185c', '"id":"01a3185d', "event 2 belongs to another process or place"),
    ],
)
def test_an_event_that_cannot_have_been_shows_even_if_the_chain_was_mended(old: str, new: str, told: str) -> None:
    accepted, claimed = HISTORY[:2]
    edited = claimed._replace(content=claimed.content.replace(old, new))
    assert tale(resealed([accepted, claimed]))[0] is None
    assert tale(resealed([accepted, edited])) == (told, None)


@pytest.mark.parametrize("edit", [('"effect":"applied"', '"effect":"perhaps"'), ('"reason":', '"excuse":')])
def test_an_event_with_what_no_event_holds_is_not_read(edit: tuple[str, str]) -> None:
    *before, end = HISTORY
    with pytest.raises((ValueError, LookupError)):
        tale(resealed([*before, end._replace(content=end.content.replace(*edit))]))


def test_a_history_that_is_cut_off_no_longer_ends_in_the_head_of_its_process() -> None:
    process, events = walk(ACCEPT, CLAIM, DONE)
    assert tale(events[:-1])[0] is None
    assert events[-2].digest != process.head


def test_two_events_in_each_others_place_show() -> None:
    assert tale([HISTORY[1], HISTORY[0], *HISTORY[2:]])[0] is not None


def test_an_event_id_is_a_uuid_of_version_8() -> None:
    text = event_id(bytes(range(32)))
    assert (len(text), text[14], text[19] in "89ab") == (36, "8", True)


@given(reference=st.text(), key=st.none() | st.text(), size=st.integers(0, 2**53), owner=st.text(max_size=8))
def test_an_event_is_written_as_the_json_of_python_writes_it(
    reference: str, key: str | None, size: int, owner: str
) -> None:
    draft = a_draft(correlation_id=reference, key=key, body_size=size)
    accepted = apply(None, Accept(draft, json.dumps({"claim": reference})), NOON)
    claimed = apply(accepted.process, Claim(owner), NOON)
    done = apply(claimed.process, Finish(State.COMPLETED, Effect.APPLIED, key, reference), NOON + 1)

    for change in (accepted, claimed, done):
        [event] = change.events
        assert event.content == json.dumps(json.loads(event.content), ensure_ascii=False, separators=(",", ":"))


@given(content=st.text(), head=st.binary(max_size=32))
def test_a_digest_depends_on_what_came_before(content: str, head: bytes) -> None:
    text = content.encode("utf-8", "replace")
    assert chain(head, text) != chain(head + b"\0", text)
