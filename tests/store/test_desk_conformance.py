"""Searches of operators, over every store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from strangler.domain.process import MACHINE_STATES, Effect, Process, PublicState, State
from strangler.domain.steps import Accept, Finish
from strangler.domain.transitions import apply
from strangler.ports import Commit, Committed, Evidence, Search
from strangler.store import Store
from tests.store import builders as make
from tests.store.builders import HOUR, NOON, after


async def kept(store: Store, commit: Commit) -> Process:
    assert await store.commit(commit) == Committed()
    return after(commit)


async def accepted(store: Store, references: dict[str, str] | None = None, **fields: Any) -> Process:
    process = make.keyed(**fields) if "key" in fields else make.draft(**fields)
    told = json.dumps(references) if references is not None else None
    change = apply(None, Accept(process, told), process.created_at)
    key = make.key_of(process) if process.key_lookup is not None else None
    return await kept(store, Commit(change, request=make.request(), key=key))


async def all_pages(store: Store, search: Search) -> list[str]:
    """The ids of all pages."""
    found: list[str] = []
    while True:
        page = await store.search(search)
        assert len(page.processes) <= search.limit
        found += [process.id for process in page.processes]
        if page.before_id is None:
            return found
        assert search.before_id is None or page.before_id < search.before_id, "it goes on"
        search = search._replace(before_id=page.before_id)


def ids(processes: Sequence[Process]) -> list[str]:
    return sorted((process.id for process in processes), reverse=True)


async def test_without_a_wish_it_is_all_newest_first(store: Store) -> None:
    processes = [await accepted(store, at=NOON + number) for number in range(7)]
    for limit in (1, 3, 7, 200):
        assert await all_pages(store, Search(limit=limit)) == ids(processes)


async def test_an_empty_store_has_one_page_and_it_is_empty(store: Store) -> None:
    found = await store.search(Search())
    assert (list(found.processes), found.before_id) == ([], None)


async def test_by_date_the_begin_is_within_and_the_end_is_not(store: Store) -> None:
    first, second, third = [await accepted(store, at=NOON + number * HOUR) for number in range(3)]
    assert await all_pages(store, Search(created_after=NOON + HOUR)) == ids([second, third])
    assert await all_pages(store, Search(created_before=NOON + HOUR)) == ids([first])
    assert await all_pages(store, Search(created_after=NOON, created_before=NOON + 1)) == ids([first])
    assert await all_pages(store, Search(created_after=NOON + 1, created_before=NOON)) == []
    assert await all_pages(store, Search(created_after=-5, created_before=2**60)) == ids([first, second, third])


async def test_by_state_and_route_and_the_name_of_the_caller(store: Store) -> None:
    waiting = await accepted(store, route="submit-claim", caller_name="broker-a")
    other = await accepted(store, route="assess-claim", caller_name="broker-b")
    called = await accepted(store, route="submit-claim", caller_name="broker-b")
    called = await kept(store, make.claim(called))
    ended = await kept(store, make.finish(called))
    doubted = await accepted(store, route="submit-claim")
    doubted = await kept(store, make.doubt(await kept(store, make.claim(doubted))))

    async def states(*public: PublicState) -> list[str]:
        wanted = tuple(pair for state in public for pair in MACHINE_STATES[state])
        return await all_pages(store, Search(states=wanted))

    assert await states(PublicState.RECEIVED) == ids([waiting, other])
    assert await states(PublicState.COMPLETED) == ids([ended])
    assert await states(PublicState.UNCONFIRMED, PublicState.COMPLETED) == ids([ended, doubted])
    assert await states(PublicState.PROCESSING) == []
    assert await all_pages(store, Search(route="assess-claim")) == ids([other])
    assert await all_pages(store, Search(caller_name="broker-b")) == ids([other, ended])
    assert await all_pages(store, Search(caller_name="broker-b", route="submit-claim")) == ids([ended])


async def test_by_the_word_of_the_domain_stored_or_promised(store: Store) -> None:
    approved = await kept(store, make.finish(await kept(store, make.claim(await accepted(store)))))
    received = await accepted(store, promise="q" * 64)
    await accepted(store)
    assert await all_pages(store, Search(status="APPROVED")) == ids([approved])
    means = (("q" * 64, PublicState.RECEIVED), ("q" * 64, PublicState.COMPLETED))
    assert await all_pages(store, Search(status="IN", status_means=means)) == ids([received])


async def test_a_word_that_was_promised_is_that_of_its_promise_and_state_where_none_is_stored(store: Store) -> None:
    means = (("q" * 64, PublicState.PROCESSING), ("r" * 64, PublicState.RECEIVED))

    async def claimed(**fields: Any) -> Process:
        return await kept(store, make.claim(await accepted(store, **fields)))

    under_way = await claimed(promise="q" * 64)
    settling = await kept(store, make.doubt(await claimed(promise="q" * 64), settling=True))
    waiting = await accepted(store, promise="r" * 64)
    await kept(store, make.doubt(await claimed(promise="q" * 64)))
    await accepted(store, promise="q" * 64)
    await claimed(promise="r" * 64)
    await kept(store, make.report(await claimed(promise="q" * 64), "ASSESSED"))
    found = await all_pages(store, Search(status="BUSY", status_means=means))
    assert found == ids([under_way, settling, waiting])


async def test_by_what_a_client_gave_and_by_what_we_made_up(store: Store) -> None:
    given = await accepted(store, correlation_id="order 17")
    made_up = f"{NOON:012x}" + "7" * 20
    ours = await accepted(store, correlation_id=made_up)
    older = await accepted(store, at=NOON - HOUR, correlation_id=made_up)  # a client gave what looks like ours
    later = await accepted(store, at=NOON + 9 * HOUR, correlation_id="order 17")
    assert await all_pages(store, Search(correlation_id="order 17")) == ids([given, later])
    assert await all_pages(store, Search(correlation_id="order 17", limit=1)) == ids([given, later])
    assert await all_pages(store, Search(correlation_id=made_up)) == ids([ours, older])
    assert await all_pages(store, Search(correlation_id="order 1")) == []
    assert await all_pages(store, Search(correlation_id="f" * 32)) == []
    bounded = Search(correlation_id="order 17", created_after=NOON + 1)
    assert await all_pages(store, bounded) == ids([later])


async def test_by_the_idempotency_key_of_whichever_caller(store: Store) -> None:
    one = await accepted(store, key="k-1")
    two = make.keyed("k-1", NOON + 5 * HOUR, caller="d" * 64)._replace(key_scope="submit-claim\n" + "d" * 64)
    other = await kept(store, make.accept(two))
    await accepted(store, key="k-2")
    assert await all_pages(store, Search(key="k-1")) == ids([one, other])
    assert await all_pages(store, Search(key="k-1", states=MACHINE_STATES[PublicState.COMPLETED])) == []


async def test_by_what_it_was_made_of(store: Store) -> None:
    first = await accepted(store)
    again = [await accepted(store, at=NOON + number * HOUR, parent_id=first.id) for number in (1, 9)]
    third = await accepted(store, at=NOON + 10 * HOUR, parent_id=again[0].id)
    assert await all_pages(store, Search(parent_id=first.id, limit=1)) == ids(again)
    assert await all_pages(store, Search(parent_id=first.id, created_after=first.created_at)) == ids(again)
    assert await all_pages(store, Search(parent_id=again[0].id)) == [third.id]
    assert await all_pages(store, Search(parent_id=third.id)) == []


async def test_by_a_business_reference_of_the_request_or_of_the_reply(store: Store) -> None:
    claim = await accepted(store, {"policyNumber": "P-1003", "claimNumber": "C-1"})
    other = await accepted(store, {"policyNumber": "P-1003"}, at=NOON + HOUR)
    late = await accepted(store, {"policyNumber": "P-7"})
    late = await kept(store, make.claim(late))
    references = json.dumps({"policyNumber": "P-7", "claimNumber": "C-ä"}, ensure_ascii=False)
    change = make.step(late, Finish(State.COMPLETED, Effect.APPLIED, business_references=references))
    late = await kept(store, Commit(change, end=make.end_of(change.process, NOON)))
    for name, text, expected in (
        (None, "P-1003", [claim, other]),
        ("policyNumber", "P-1003", [claim, other]),
        ("claimNumber", "P-1003", []),
        (None, "C-1", [claim]),
        (None, "C-ä", [late]),
        ("policyNumber", "P-7", [late]),
        (None, "", []),
    ):
        assert await all_pages(store, Search(reference=(name, text))) == ids(expected), (name, text)


async def test_by_text_in_the_reason_letters_without_case(store: Store) -> None:
    process = await kept(store, make.claim(await accepted(store)))
    doubted = await kept(store, make.doubt(process))
    await accepted(store)
    assert await all_pages(store, Search(text="TIMEOUT after")) == ids([doubted])
    assert await all_pages(store, Search(text="timeout%")) == []


async def test_a_word_that_many_share_is_found_page_by_page(store: Store) -> None:
    some = [accepted(store, at=NOON + number * HOUR // 40, correlation_id="all") for number in range(300)]
    processes = await asyncio.gather(*some)
    await accepted(store, correlation_id="another")
    assert await all_pages(store, Search(correlation_id="all", limit=30)) == ids(processes)
    assert await all_pages(store, Search(correlation_id="all", limit=30, route="none")) == []


@pytest.mark.parametrize("before", ["", "no id", "00000000-0000-0000-0000-000000000000"])
async def test_a_cursor_that_is_none_ends_the_list(store: Store, before: str) -> None:
    await accepted(store)
    assert await all_pages(store, Search(before_id=before)) == []


async def test_what_belongs_to_a_process_is_there_with_it(store: Store) -> None:
    process = await accepted(store)
    carried = await store.carried(process.id)
    assert carried is not None
    assert (carried.attempts, carried.evidence, carried.exceptions, carried.sealed) == ((), (), (), True)
    claimed = await kept(store, make.claim(process))
    evidence = Evidence(process.id, 1, "sent", NOON, None, ((b"X-A", b"\xff"),), b"body")
    await store.commit(Commit(None, evidence=evidence))
    doubted = await kept(store, make.doubt(claimed))
    carried = await store.carried(doubted.id)
    assert carried is not None
    assert [attempt.detail for attempt in carried.attempts] == ["timeout"]
    assert list(carried.evidence) == [evidence]
    assert [(one.kind, one.closed_at) for one in carried.exceptions] == [("in_doubt", None)]
    ended = await kept(store, make.finish(claimed := await kept(store, make.claim(await accepted(store)))))
    carried = await store.carried(ended.id)
    assert carried is not None
    assert (carried.sealed, carried.retain_until_at) == (False, make.end_of(claimed, ended.updated_at).retain_until_at)
    assert await store.carried(make.make_id()) is None
    assert await store.carried("no id") is None
