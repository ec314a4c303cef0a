"""The exception queue, as every store keeps it."""

from __future__ import annotations

import asyncio

import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exceptions import KINDS, ExceptionKind
from strangler.domain.process import Process
from strangler.ports import Closing, Commit, ExceptionQuery, Note, OpenException
from strangler.store import Store
from tests.store import builders as make
from tests.store.builders import DAY, HOUR, NOON, RETAIN, after
from tests.store.test_conformance import done


async def ended(store: Store, route: str = "submit-claim") -> Process:
    """A process that needs nobody."""
    accepted = after(await done(store, make.accept(make.draft(route=route))))
    return after(await done(store, make.finish(after(await done(store, make.claim(accepted, at=NOON))), at=NOON)))


async def opened(
    store: Store, kind: ExceptionKind = "late_reply", at: int = NOON, *, route: str = "submit-claim", subject: str = ""
) -> int:
    """The number of an exception of a process of its own."""
    process = await ended(store, route)
    assert await store.exceptions.open(OpenException(process.id, kind, at, "look at this", subject))
    (entry,) = await store.exceptions.page(ExceptionQuery(process_id=process.id))
    return entry.id


async def numbers(store: Store, query: ExceptionQuery) -> list[int]:
    return [entry.id for entry in await store.exceptions.page(query)]


async def test_an_exception_is_read_back_with_every_field(store: Store) -> None:
    process = await ended(store)
    opens = OpenException(process.id, "dead_delivery", NOON, "gave up", "delivery-7")
    await done(store, Commit(None, opens=opens))
    (entry,) = await store.exceptions.page(ExceptionQuery())
    assert entry == (
        *(entry.id, process.id, "dead_delivery", "delivery-7", "submit-claim", NOON, NOON + DAY, "gave up"),
        *(None, None, None, None),
    )
    assert await store.exceptions.one(entry.id) is not None
    assert await store.exceptions.one(entry.id + 1) is None


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_has_an_instant_at_which_it_is_due(store: Store, kind: ExceptionKind) -> None:
    number = await opened(store, kind)
    found = await store.exceptions.one(number)
    assert found is not None
    assert found[0].kind == kind
    assert found[0].due_at > NOON


async def test_the_same_is_open_once_and_may_open_again_when_it_was_closed(store: Store) -> None:
    process = await ended(store)
    first = OpenException(process.id, "integrity", NOON, "first", "digest")
    assert await store.exceptions.open(first)
    assert not await store.exceptions.open(first._replace(at=NOON + 1, detail="again"))
    assert await store.exceptions.open(first._replace(subject="other"))
    (entry, _) = await store.exceptions.page(ExceptionQuery())
    assert await store.exceptions.close(entry.id, Closing(NOON, "ann", "accept", "known"))
    assert await store.exceptions.open(first._replace(at=NOON + 2))
    assert len(await store.exceptions.page(ExceptionQuery(state="all", subject="digest"))) == 2


async def test_an_exception_may_be_about_the_store_or_about_what_does_not_exist(store: Store) -> None:
    stray = make.make_id()
    assert await store.exceptions.open(OpenException(None, "integrity", NOON, "the file is damaged"))
    assert await store.exceptions.open(OpenException(stray, "integrity", NOON, "rows of nothing"))
    found = await store.exceptions.page(ExceptionQuery())
    assert [(entry.process_id, entry.route) for entry in found] == [(None, ""), (stray, "")]
    assert await numbers(store, ExceptionQuery(process_id=stray)) == [found[1].id]
    with store.ledgers() as ledgers:
        assert list(ledgers.strays(lambda: NOON)) == []


async def test_the_longest_due_comes_first_and_pages_go_on(store: Store) -> None:
    late = await opened(store, "expired", NOON)
    doubted = await opened(store, "in_doubt", NOON + HOUR)
    older = await opened(store, "in_doubt", NOON)
    same = await opened(store, "orphan", NOON)
    assert await numbers(store, ExceptionQuery()) == [older, same, doubted, late]
    pages, mark = [], None
    while page := await store.exceptions.page(ExceptionQuery(limit=3, after=mark)):
        pages.append([entry.id for entry in page])
        mark = (page[-1].due_at, page[-1].id)
    assert pages == [[older, same, doubted], [late]]


async def test_a_list_is_narrowed_by_kind_owner_route_process_and_state(store: Store) -> None:
    mine = await opened(store, "in_doubt")
    other = await opened(store, "expired", route="assess")
    free = await opened(store, "late_reply")
    closed = await opened(store, "expired")
    await store.exceptions.claim(mine, NOON, "ann")
    await store.exceptions.close(closed, Closing(NOON, "ann", "accept", "told the client"))
    assert await numbers(store, ExceptionQuery(kinds=("in_doubt",))) == [mine]
    assert await numbers(store, ExceptionQuery(kinds=("expired", "late_reply"))) == [free, other]
    assert await numbers(store, ExceptionQuery(owner="ann")) == [mine]
    assert await numbers(store, ExceptionQuery(owner="")) == [free, other]
    assert await numbers(store, ExceptionQuery(route="assess")) == [other]
    assert await numbers(store, ExceptionQuery(state="closed")) == [closed]
    assert await numbers(store, ExceptionQuery(state="all")) == [closed, free, other, mine]
    assert await numbers(store, ExceptionQuery(state="all", limit=2, after=(0, free))) == [other, mine]
    assert await numbers(store, ExceptionQuery(process_id="no id")) == []
    assert await store.exceptions.counts() == {"in_doubt": 1, "expired": 1, "late_reply": 1}


async def test_what_somebody_has_claimed_nobody_else_claims_until_it_is_released(store: Store) -> None:
    number = await opened(store)
    assert await store.exceptions.claim(number, NOON, "ann")
    assert await store.exceptions.claim(number, NOON + 1, "ann")
    assert not await store.exceptions.claim(number, NOON + 2, "bob")
    assert await store.exceptions.release(number, NOON + 3, "bob", "ann is on leave")
    assert await store.exceptions.release(number, NOON + 4, "bob", "again")
    assert await store.exceptions.claim(number, NOON + 5, "bob")
    found = await store.exceptions.one(number)
    assert found is not None
    assert found[0].owner == "bob"
    assert list(found[1]) == [
        Note(NOON, "ann", "claimed", ""),
        Note(NOON + 3, "bob", "released", "ann is on leave"),
        Note(NOON + 5, "bob", "claimed", ""),
    ]


async def test_of_many_who_claim_at_once_one_has_it(store: Store) -> None:
    number = await opened(store)
    claims = [store.exceptions.claim(number, NOON, f"operator-{index}") for index in range(8)]
    assert sorted(await asyncio.gather(*claims)) == [False] * 7 + [True]


async def test_notes_are_kept_in_order_also_after_the_end_and_the_same_one_once(store: Store) -> None:
    number = await opened(store)
    assert await store.exceptions.note(number, NOON, "ann", "asked the legacy team")
    assert await store.exceptions.note(number, NOON, "ann", "asked the legacy team")
    assert await store.exceptions.close(number, Closing(NOON + 1, "ann", "accept", "they knew"))
    assert await store.exceptions.note(number, NOON + 2, "bob", "ünd ☃")
    assert not await store.exceptions.note(number + 1, NOON, "ann", "nothing")
    found = await store.exceptions.one(number)
    assert found is not None
    assert [(note.who, note.did, note.text) for note in found[1]] == [
        ("ann", "noted", "asked the legacy team"),
        ("ann", "closed", "they knew"),
        ("bob", "noted", "ünd ☃"),
    ]


async def test_it_is_closed_once_by_whom_and_why_is_kept(store: Store) -> None:
    number = await opened(store)
    closing = Closing(NOON + 1, "ann", "accept", "it is as it is")
    assert await store.exceptions.close(number, closing)
    assert await store.exceptions.close(number, closing), "the same once more changes nothing"
    assert not await store.exceptions.close(number, closing._replace(who="bob"))
    assert not await store.exceptions.claim(number, NOON + 2, "ann")
    assert not await store.exceptions.release(number, NOON + 2, "ann", "")
    found = await store.exceptions.one(number)
    assert found is not None
    assert (found[0].closed_at, found[0].closed_by, found[0].action) == (NOON + 1, "ann", "accept")
    assert list(found[1]) == [Note(NOON + 1, "ann", "closed", "it is as it is")]


async def test_the_end_of_a_process_in_doubt_closes_its_doubt_and_leaves_the_rest(store: Store) -> None:
    claimed = after(await done(store, make.claim(after(await done(store, make.accept())))))
    doubted = after(await done(store, make.doubt(claimed)))
    await store.exceptions.open(OpenException(doubted.id, "integrity", NOON, "a row", "digest"))
    finished = make.finish(doubted)
    at = after(finished).updated_at
    await done(store, finished._replace(closes=Closing(at, "ann", "complete", "the register has it")))
    doubt, finding = sorted(
        await store.exceptions.page(ExceptionQuery(state="all")), key=lambda entry: KINDS.index(entry.kind)
    )
    assert (doubt.closed_at, doubt.closed_by, doubt.action) == (at, "ann", "complete")
    assert finding.closed_at is None
    found = await store.exceptions.one(doubt.id)
    assert found is not None
    assert list(found[1]) == [Note(at, "ann", "closed", "the register has it")]


async def test_an_open_exception_keeps_its_process_and_goes_with_it_when_it_was_closed(store: Store) -> None:
    number = await opened(store)
    await store.exceptions.note(number, NOON, "ann", "looking")
    assert await store.sweep(NOON + RETAIN, 100) == 0
    assert await store.exceptions.close(number, Closing(NOON + DAY, "ann", "accept", "done"))
    assert await store.sweep(NOON + RETAIN, 100) == 0, "retention counts from the closing"
    assert await store.sweep(NOON + RETAIN + DAY, 100) == 1
    assert await store.exceptions.one(number) is None
    again = await opened(store)
    assert again > number, "a number is never given to another"


async def test_a_closed_store_changes_no_exception(store: Store) -> None:
    number = await opened(store)
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.exceptions.note(number, NOON, "ann", "too late")
