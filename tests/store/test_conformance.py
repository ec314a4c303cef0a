"""What every store does, whatever it is made of: commits, reads and lists. Upkeep is in test_upkeep_conformance.py."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import orjson
import pytest

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import CHUNK_SIZE, Attempt, Body
from strangler.domain.history import tale
from strangler.domain.process import Effect, PublicState, State, Tombstone
from strangler.domain.steps import Accept, Cancel, Claim, Expire, Finish, Resume
from strangler.domain.transitions import apply
from strangler.ports import Commit, Committed, Evidence, KeyTaken, ListQuery, OpenException, Stale
from strangler.store import Store
from tests.store import builders as make
from tests.store.builders import CALLER, DAY, NOON, after


async def done(store: Store, commit: Commit) -> Commit:
    """Commit it, and take for granted that it is committed."""
    assert await store.commit(commit) == Committed()
    return commit


async def test_a_process_is_read_back_with_every_field(store: Store) -> None:
    accepted = await done(store, make.accept(make.keyed(caller_name="crm", parent_id=make.make_id())))
    assert await store.process(after(accepted).id) == after(accepted)
    claimed = await done(store, make.claim(after(accepted)))
    assert await store.process(after(accepted).id) == after(claimed)
    doubted = await done(store, make.doubt(after(claimed)))
    assert await store.process(after(accepted).id) == after(doubted)
    finished = await done(store, make.finish(after(doubted)))
    assert await store.process(after(accepted).id) == after(finished)


async def test_all_public_and_private_numbers_survive_their_full_range(store: Store) -> None:
    process = make.draft(key_life=2**53, retain=2**53, body_size=2**40, promised=False, caller=None)
    accepted = await done(store, make.accept(process))
    assert await store.process(process.id) == after(accepted)


@pytest.mark.parametrize("bore", [True, False, None])
async def test_whether_a_request_bore_credentials_is_known_when_they_are_gone(store: Store, bore: bool | None) -> None:
    claimed = await done(store, make.claim(after(await done(store, make.accept(make.draft(had_credentials=bore))))))
    await done(store, make.finish(after(claimed)))
    found = await store.process(after(claimed).id)
    assert not isinstance(found, Tombstone)
    assert found is not None
    assert found.had_credentials is bore
    (event, *_) = await store.events(found.id)
    assert orjson.loads(event.content)["set"].get("had_credentials") is bore, "it is sealed with the history"


@pytest.mark.parametrize(
    "field",
    [
        {"caller_name": "crm"},
        {"parent_id": make.make_id()},
        {"trace_state": "vendor=1"},
        {"subscriptions": "[]"},
        {"retain_bodies": DAY},
        {"retain_history": DAY},
        {"retain_deliveries": DAY},
    ],
    ids=lambda field: next(iter(field)),
)
async def test_what_hardly_any_process_has_is_kept_beside_those_that_have_it_not(
    store: Store, field: dict[str, Any]
) -> None:
    commits = [make.accept(make.draft(**field)), make.accept(), make.accept(make.draft(**field))]
    assert await asyncio.gather(*(store.commit(commit) for commit in commits)) == [Committed()] * 3
    assert [await store.process(after(commit).id) for commit in commits] == [after(commit) for commit in commits]


async def test_types_of_fields_are_those_of_the_domain(store: Store) -> None:
    claimed = await done(store, make.claim(after(await done(store, make.accept()))))
    await done(store, make.finish(after(claimed)))
    found = await store.process(after(claimed).id)
    assert not isinstance(found, Tombstone)
    assert found is not None
    assert found.state is State.COMPLETED
    assert found.effect is Effect.APPLIED
    assert found.promised is True
    assert found.unresolved is False
    assert type(found.id) is str
    assert type(found.head) is bytes


@pytest.mark.parametrize("process_id", ["", "x", "0193f3a0", "0193F3A0-0000-7000-8000-00000000000A", "é" * 36])
async def test_what_is_no_process_id_is_no_process(store: Store, process_id: str) -> None:
    assert await store.process(process_id) is None
    assert await store.request(process_id) is None
    assert await store.reply(process_id) is None
    assert await store.events(process_id) == ()


async def test_the_request_is_read_back_octet_for_octet(store: Store) -> None:
    accepted = await done(store, make.accept())
    assert await store.request(after(accepted).id) == make.request()


async def test_a_request_without_headers_and_body_is_read_back(store: Store) -> None:
    bare = make.request(b"", headers=(), credentials=(), target=b"/")
    accepted = await done(store, make.accept(request=bare))
    found = await store.request(after(accepted).id)
    assert found is not None
    assert (found.method, found.target, tuple(found.headers), tuple(found.credentials), found.body) == (
        bare.method,
        b"/",
        (),
        (),
        bare.body,
    )


async def test_credentials_are_gone_with_the_end(store: Store) -> None:
    accepted = await done(store, make.accept())
    claimed = await done(store, make.claim(after(accepted)))
    before = await store.request(after(accepted).id)
    assert before is not None
    assert len(before.credentials) == 2
    await done(store, make.finish(after(claimed)))
    found = await store.request(after(accepted).id)
    assert found is not None
    assert tuple(found.credentials) == ()
    assert tuple(found.headers) == tuple(make.request().headers)


async def test_the_reply_is_read_back_with_its_attempt(store: Store) -> None:
    claimed = await done(store, make.claim(after(await done(store, make.accept()))))
    assert await store.reply(after(claimed).id) is None
    await done(store, make.finish(after(claimed), answer=make.reply(b"\x00\xff" * 500)))
    assert await store.reply(after(claimed).id) == (1, make.reply(b"\x00\xff" * 500))


async def test_a_reply_too_large_to_keep_is_read_back_as_such(store: Store) -> None:
    claimed = await done(store, make.claim(after(await done(store, make.accept()))))
    large = make.reply()._replace(body=Body(10**9, b"d" * 32, None, kept=False))
    await done(store, make.finish(after(claimed), answer=large))
    assert await store.reply(after(claimed).id) == (1, large)


async def test_the_history_is_read_back_in_order_and_tells_of_the_process(store: Store) -> None:
    accepted = await done(store, make.accept(make.keyed()))
    claimed = await done(store, make.claim(after(accepted)))
    postponed = await done(store, make.postpone(after(claimed), NOON + 5000))
    again = await done(store, make.claim(after(postponed)))
    finished = await done(store, make.finish(after(again)))
    events = await store.events(after(accepted).id)
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
    broken, told = tale(events)
    assert broken is None
    assert told is not None
    assert told.process == after(finished)


async def test_several_transitions_of_one_commit_are_all_kept(store: Store) -> None:
    process = make.draft()
    change = apply(None, Accept(process), NOON).then(Claim(make.OWNER), NOON)
    attempt = Attempt(process.id, 1, 1, make.OWNER, NOON)
    await done(store, Commit(change, request=make.request(), attempt=attempt))
    assert await store.process(process.id) == change.process
    assert tuple(await store.events(process.id)) == change.events
    with store.ledgers() as ledgers:
        ledger = ledgers.one(process.id)
    assert ledger is not None
    assert tuple(ledger.outbox) == change.outbox
    assert tuple(ledger.attempts) == (attempt,)


async def test_a_process_that_is_accepted_and_ended_by_one_commit_is_ended(store: Store) -> None:
    process = make.keyed()
    change = apply(None, Accept(process), NOON).then(Cancel("withdrawn"), NOON)
    ended = Commit(change, request=make.request(), key=make.key_of(process), end=make.end_of(change.process, NOON))
    await done(store, ended)
    held = await store.key(make.key_of(process).scope, "key-1")
    assert held == make.key_of(process)._replace(expires_at=NOON)
    found = await store.request(process.id)
    assert found is not None
    assert tuple(found.credentials) == ()


# ── Compare and set ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_second_change_from_the_same_point_is_stale_and_leaves_no_trace(store: Store) -> None:
    accepted = await done(store, make.accept(make.keyed()))
    claimed = await done(store, make.claim(after(accepted)))
    late = make.withdraw(after(accepted), Cancel("changed my mind"))
    late = late._replace(
        evidence=Evidence(after(accepted).id, 1, "late_reply", NOON, 200, (), b""),
        opens=OpenException(after(accepted).id, "late_reply", NOON, "x"),
    )
    assert await store.commit(late) == Stale()
    assert await store.process(after(accepted).id) == after(claimed)
    assert len(await store.events(after(accepted).id)) == 2
    with store.ledgers() as ledgers:
        ledger = ledgers.one(after(accepted).id)
    assert ledger is not None
    assert (len(ledger.outbox), len(ledger.evidence), len(ledger.exceptions)) == (2, 0, 0)
    assert ledger.sealed
    assert ledger.key == make.key_of(after(accepted))


async def test_a_change_under_an_old_fence_is_stale(store: Store) -> None:
    claimed = await done(store, make.claim(after(await done(store, make.accept()))))
    doubted = await done(store, make.doubt(after(claimed), settling=True))
    forged = after(doubted)._replace(fence=0)
    change = apply(forged, Resume(NOON), NOON)
    assert await store.commit(Commit(change)) == Stale()


async def test_of_two_ends_under_one_fence_the_first_stands(store: Store) -> None:
    accepted = await done(store, make.accept(make.keyed()))
    cancelled, expired = make.withdraw(after(accepted), Cancel()), make.withdraw(after(accepted), Expire())
    assert await store.commit(cancelled) == Committed()
    assert await store.commit(expired) == Stale()
    assert await asyncio.gather(store.commit(expired), store.commit(cancelled)) == [Stale(), Stale()]
    assert await store.process(after(accepted).id) == after(cancelled)


async def test_a_change_of_a_process_that_does_not_exist_is_stale(store: Store) -> None:
    assert await store.commit(make.claim(after(make.accept()))) == Stale()


async def test_accepting_an_id_twice_is_stale(store: Store) -> None:
    accepted = await done(store, make.accept())
    again = make.accept(make.draft(id=after(accepted).id, route="other"))
    assert await store.commit(again) == Stale()
    assert await store.process(after(accepted).id) == after(accepted)


async def test_of_many_who_claim_at_once_one_wins(store: Store) -> None:
    accepted = await done(store, make.accept())
    claims = [make.claim(after(accepted), owner=f"owner-{number}") for number in range(20)]
    verdicts = await asyncio.gather(*(store.commit(commit) for commit in claims))
    assert verdicts.count(Committed()) == 1
    assert verdicts.count(Stale()) == 19
    winner = claims[verdicts.index(Committed())]
    assert await store.process(after(accepted).id) == after(winner)


async def test_a_whole_life_may_be_committed_without_waiting_in_between(store: Store) -> None:
    accepted = make.accept(make.keyed())
    claimed = make.claim(after(accepted))
    doubted = make.doubt(after(claimed))
    finished = make.finish(after(doubted))
    finished = finished._replace(closes=make.closing(after(finished).updated_at))
    others = [make.accept() for _ in range(5)]
    futures = [
        store.commit(accepted),
        store.commit(others[0]),
        store.commit(claimed),
        store.commit(others[1]),
        store.commit(make.claim(after(accepted), owner="late")),
        store.commit(doubted),
        store.commit(finished),
        *(store.commit(other) for other in others[2:]),
    ]
    verdicts = await asyncio.gather(*futures)
    assert verdicts == [Committed()] * 4 + [Stale()] + [Committed()] * 5
    assert await store.process(after(accepted).id) == after(finished)
    for other in others:
        assert await store.process(after(other).id) == after(other)
    with store.ledgers() as ledgers:
        ledger = ledgers.one(after(accepted).id)
    assert ledger is not None
    assert [exception.closed_at for exception in ledger.exceptions] == [after(finished).finished_at]


async def test_a_waiter_that_is_cancelled_neither_undoes_its_commit_nor_hurts_another(store: Store) -> None:
    first, second = make.accept(), make.accept()
    waiting = asyncio.ensure_future(store.commit(first))
    other = store.commit(second)
    waiting.cancel()
    assert await other == Committed()
    await done(store, make.accept())
    assert await store.process(after(first).id) == after(first)


# ── Keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_key_is_held_by_the_process_that_took_it(store: Store) -> None:
    accepted = await done(store, make.accept(make.keyed("a")))
    held = await store.key(make.key_of(after(accepted)).scope, "a")
    assert held == make.key_of(after(accepted))
    assert await store.key("another scope", "a") is None
    assert await store.key(make.key_of(after(accepted)).scope, "b") is None


async def test_a_key_that_is_held_turns_the_next_acceptance_away_whole(store: Store) -> None:
    first = await done(store, make.accept(make.keyed()))
    second = make.accept(make.keyed())
    assert await store.commit(second) == KeyTaken(make.key_of(after(first)))
    assert await store.process(after(second).id) is None
    assert await store.events(after(second).id) == ()
    assert await store.request(after(second).id) is None


async def test_of_many_who_bring_one_key_at_once_one_is_accepted(store: Store) -> None:
    commits = [make.accept(make.keyed()) for _ in range(20)]
    verdicts = await asyncio.gather(*(store.commit(commit) for commit in commits))
    assert verdicts.count(Committed()) == 1
    winner = make.key_of(after(commits[verdicts.index(Committed())]))
    assert verdicts.count(KeyTaken(winner)) == 19


async def test_the_same_key_in_another_scope_is_another_key(store: Store) -> None:
    await done(store, make.accept(make.keyed()))
    other = make.keyed()._replace(key_scope="submit-claim\nsomeone else")
    await done(store, make.accept(other))


async def test_a_key_that_lapsed_is_fresh_again(store: Store) -> None:
    claimed = await done(store, make.claim(after(await done(store, make.accept(make.keyed())))))
    finished = await done(store, make.finish(after(claimed), at=NOON))
    held = make.key_of(after(finished))._replace(expires_at=NOON + DAY)
    early = make.accept(make.keyed(at=NOON + DAY - 1))
    assert await store.commit(early) == KeyTaken(held)
    late = await done(store, make.accept(make.keyed(at=NOON + DAY)))
    assert await store.key(held.scope, held.key) == make.key_of(after(late))
    # The end of the first process has nothing more to say about a key that it lost.
    assert await store.process(after(finished).id) == after(finished)


async def test_a_key_of_a_process_without_effect_is_released_at_its_end(store: Store) -> None:
    accepted = await done(store, make.accept(make.keyed()))
    cancelled = make.withdraw(after(accepted), Cancel(), at=NOON + 5)
    following = make.accept(make.keyed(at=NOON + 5))
    verdicts = await asyncio.gather(store.commit(cancelled), store.commit(following))
    assert verdicts == [Committed(), Committed()]


async def test_an_end_lets_only_its_own_key_lapse(store: Store) -> None:
    first = await done(store, make.accept(make.keyed()))
    # A forged process that claims the same key without holding it.
    second = await done(store, make.accept(make.keyed(), key=None))
    await done(store, make.withdraw(after(second), Cancel()))
    assert await store.key(make.key_of(after(first)).scope, "key-1") == make.key_of(after(first))


# ── Attempts, evidence, exceptions ───────────────────────────────────────────────────────────────────────────────────


async def test_the_end_of_an_attempt_is_written_over_its_beginning_and_leaves_when_it_began(store: Store) -> None:
    claimed = await done(store, make.claim(after(await done(store, make.accept()))))
    postponed = await done(store, make.postpone(after(claimed), NOON))
    again = await done(store, make.claim(after(postponed)))
    with store.ledgers() as ledgers:
        ledger = ledgers.one(after(again).id)
    assert ledger is not None
    assert claimed.attempt is not None
    assert postponed.attempt is not None
    assert claimed.attempt.started_at != postponed.attempt.started_at
    ended = postponed.attempt._replace(started_at=claimed.attempt.started_at)
    assert tuple(ledger.attempts) == (ended, again.attempt)


async def test_evidence_without_a_change_is_kept(store: Store) -> None:
    finished = await done(
        store, make.finish(after(await done(store, make.claim(after(await done(store, make.accept()))))))
    )
    evidence = Evidence(after(finished).id, 1, "late_reply", NOON, 200, ((b"A", b"\xff"),), b"late")
    opens = OpenException(after(finished).id, "late_reply", NOON, "a reply came late")
    await done(store, Commit(None, evidence=evidence, opens=opens))
    with store.ledgers() as ledgers:
        ledger = ledgers.one(after(finished).id)
    assert ledger is not None
    assert tuple(ledger.evidence) == (evidence,)
    assert [(held.kind, held.detail, held.closed_at) for held in ledger.exceptions] == [
        ("late_reply", "a reply came late", None)
    ]
    assert await store.process(after(finished).id) == after(finished)


async def test_evidence_of_a_process_that_does_not_exist_is_stale(store: Store) -> None:
    evidence = Evidence(make.make_id(), 1, "late_reply", NOON, None, (), b"")
    assert await store.commit(Commit(None, evidence=evidence)) == Stale()
    with store.ledgers() as ledgers:
        assert list(ledgers.strays(lambda: NOON)) == []


async def test_at_most_one_exception_of_a_kind_is_open(store: Store) -> None:
    doubted = await done(
        store, make.doubt(after(await done(store, make.claim(after(await done(store, make.accept()))))))
    )
    again = OpenException(after(doubted).id, "in_doubt", NOON + 9, "again")
    other = OpenException(after(doubted).id, "late_reply", NOON + 9, "other")
    verdicts = await asyncio.gather(
        store.commit(Commit(None, opens=again)), store.commit(Commit(None, opens=other)), store.commit(make.accept())
    )
    assert verdicts == [Committed()] * 3
    with store.ledgers() as ledgers:
        ledger = ledgers.one(after(doubted).id)
    assert ledger is not None
    assert sorted((held.kind, held.detail) for held in ledger.exceptions) == [
        ("in_doubt", "timeout after 60 s"),
        ("late_reply", "other"),
    ]


async def test_an_exception_that_was_closed_may_open_again(store: Store) -> None:
    doubted = await done(
        store, make.doubt(after(await done(store, make.claim(after(await done(store, make.accept()))))))
    )
    again = OpenException(after(doubted).id, "in_doubt", NOON + 9, "again")
    await done(store, Commit(None, opens=again, closes=make.closing(NOON + 9)))
    with store.ledgers() as ledgers:
        ledger = ledgers.one(after(doubted).id)
    assert ledger is not None
    assert [(held.detail, held.closed_at is None) for held in ledger.exceptions] == [
        ("timeout after 60 s", False),
        ("again", True),
    ]


# ── Lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_list_is_the_callers_own_newest_first_and_pages_on(store: Store) -> None:
    mine = [after(await done(store, make.accept(make.draft(NOON + number)))) for number in range(5)]
    await done(store, make.accept(make.draft(caller="d" * 64)))
    await done(store, make.accept(make.draft(caller=None)))
    await done(store, make.accept(make.draft(resource="/others")))
    query = ListQuery("/claim-submissions", CALLER, limit=2)
    pages = []
    while page := await store.page(query):
        pages.append(list(page))
        query = query._replace(before_id=page[-1].id)
    assert pages == [[mine[4], mine[3]], [mine[2], mine[1]], [mine[0]]]


async def test_a_list_may_be_narrowed(store: Store) -> None:
    first = after(await done(store, make.accept(make.keyed("k-1", NOON))))
    second = after(await done(store, make.accept(make.draft(NOON + 10, correlation_id="corr-2"))))
    third = after(await done(store, make.accept(make.draft(NOON + 20))))
    everything = ListQuery("/claim-submissions", CALLER)
    for narrowed, expected in [
        (everything._replace(key="k-1"), [first]),
        (everything._replace(correlation_id="corr-2"), [second]),
        (everything._replace(created_after=NOON), [third, second]),
        (everything._replace(created_before=NOON + 20), [second, first]),
        (everything._replace(created_after=NOON, created_before=NOON + 20), [second]),
        (everything._replace(key="k-1", correlation_id="corr-2"), []),
        (everything._replace(before_id="nonsense"), []),
    ]:
        assert list(await store.page(narrowed)) == expected, narrowed


async def test_a_list_by_state_uses_the_clients_words(store: Store) -> None:
    async def claimed() -> Commit:
        return await done(store, make.claim(after(await done(store, make.accept()))))

    received = after(await done(store, make.accept()))
    processing = after(await claimed())
    waiting = after(await done(store, make.postpone(after(await claimed()), NOON)))
    settling = after(await done(store, make.doubt(after(await claimed()), settling=True)))
    unconfirmed = after(await done(store, make.doubt(after(await claimed()))))
    completed = after(await done(store, make.finish(after(await claimed()))))
    rejected = after(await done(store, make.finish(after(await claimed()), State.REJECTED, Effect.NONE)))
    query = ListQuery("/claim-submissions", CALLER)
    for state, expected in [
        (PublicState.RECEIVED, [received]),
        (PublicState.PROCESSING, [settling, waiting, processing]),
        (PublicState.UNCONFIRMED, [unconfirmed]),
        (PublicState.COMPLETED, [completed]),
        (PublicState.REJECTED, [rejected]),
        (PublicState.CANCELLED, []),
    ]:
        assert list(await store.page(query._replace(state=state))) == expected
        full = query._replace(state=state, limit=max(1, len(expected)))
        assert list(await store.page(full)) == expected, "a page that is not full is the last one"


async def test_a_list_by_status_finds_stored_words_and_those_that_a_promise_gives_a_state(store: Store) -> None:
    approved = after(
        await done(store, make.finish(after(await done(store, make.claim(after(await done(store, make.accept())))))))
    )
    received = after(await done(store, make.accept()))
    await done(store, make.accept(make.draft(promise="q" * 64)))
    query = ListQuery("/claim-submissions", CALLER)
    assert list(await store.page(query._replace(status="APPROVED"))) == [approved]
    assert list(await store.page(query._replace(status="NEW"))) == []
    # A stored word comes before what its promise makes of the state.
    means = ((make.PROMISE, PublicState.RECEIVED), (make.PROMISE, PublicState.COMPLETED))
    for _ in range(3):  # newer ones, each of which is it in one way and not in all
        await done(store, make.claim(after(await done(store, make.accept()))))
        await done(store, make.accept(make.draft(promise="q" * 64)))
        await done(store, make.report(after(await done(store, make.accept())), "SEEN"))
    assert list(await store.page(query._replace(status="NEW", status_means=means))) == [received]
    assert list(await store.page(query._replace(status="NEW", status_means=means, limit=1))) == [received]


# ── Bodies ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_chunks_are_read_back_by_part_and_number(store: Store) -> None:
    process = make.draft()
    pieces = [b"a" * CHUNK_SIZE, b"b" * CHUNK_SIZE, b"c" * 10]
    await asyncio.gather(*(store.write_chunk(process.id, "request", i, piece) for i, piece in enumerate(pieces)))
    await store.write_chunk(process.id, "reply-1", 0, b"other")
    whole = b"".join(pieces)
    named = make.request(body=Body(len(whole), hashlib.sha256(whole).digest(), None))
    await done(store, make.accept(process, request=named))
    found = await store.request(process.id)
    assert found is not None
    assert found.body == named.body
    assert found.body.chunks == 3
    assert [await store.read_chunk(process.id, "request", i) for i in range(3)] == pieces
    assert await store.read_chunk(process.id, "reply-1", 0) == b"other"


async def test_a_request_is_not_recorded_where_a_chunk_of_it_is_gone(store: Store) -> None:
    whole = b"x" * (2 * CHUNK_SIZE + 1)
    body = Body(len(whole), hashlib.sha256(whole).digest(), None)
    request = make.request()._replace(body=body)
    refused, kept = (make.accept(make.draft(body_size=body.size), request=request) for _ in range(2))
    for number in range(3):
        await store.write_chunk(after(kept).id, "request", number, whole[number * CHUNK_SIZE :][:CHUNK_SIZE])
        if number != 1:
            await store.write_chunk(after(refused).id, "request", number, b"x")
    verdicts = await asyncio.gather(store.commit(refused), store.commit(kept), return_exceptions=True)
    assert isinstance(verdicts[0], StoreUnavailable)
    assert verdicts[1] == Committed()
    assert await store.process(after(refused).id) is None


async def test_a_chunk_that_is_not_there_is_a_key_error(store: Store) -> None:
    with pytest.raises(KeyError):
        await store.read_chunk(make.make_id(), "request", 0)


async def test_discarded_chunks_are_gone_and_the_other_parts_stay(store: Store) -> None:
    process_id = make.make_id()
    for part in ("reply-1", "reply-2"):
        for index in range(3):
            await store.write_chunk(process_id, part, index, b"x")
    await store.discard_chunks(process_id, "reply-1")
    for index in range(3):
        with pytest.raises(KeyError):
            await store.read_chunk(process_id, "reply-1", index)
    assert await store.read_chunk(process_id, "reply-2", 2) == b"x"
    await store.discard_chunks(make.make_id(), "reply-1")


async def test_a_chunk_that_is_written_again_is_replaced(store: Store) -> None:
    process_id = make.make_id()
    await store.write_chunk(process_id, "reply-1", 0, b"old")
    await store.write_chunk(process_id, "reply-1", 0, b"new")
    assert await store.read_chunk(process_id, "reply-1", 0) == b"new"


# ── The end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_closing_records_what_waits_and_then_refuses(store: Store) -> None:
    waiting = [store.commit(make.accept()) for _ in range(50)]
    await store.close()
    assert await asyncio.gather(*waiting) == [Committed()] * 50
    assert store.refusal() is not None
    with pytest.raises(StoreUnavailable):
        await store.commit(make.accept())
    with pytest.raises(StoreUnavailable):
        await store.write_chunk(make.make_id(), "request", 0, b"x")
    await store.close()


async def test_a_commit_about_nothing_is_a_defect(store: Store) -> None:
    with pytest.raises(ValueError):
        await store.commit(Commit(None))


async def test_a_finish_may_follow_a_late_reply(store: Store) -> None:
    doubted = await done(
        store, make.doubt(after(await done(store, make.claim(after(await done(store, make.accept()))))))
    )
    finished = apply(after(doubted), Finish(State.COMPLETED, Effect.APPLIED), NOON + 10)
    await done(
        store,
        Commit(
            finished,
            evidence=Evidence(finished.process.id, 1, "late_reply", NOON + 9, 200, (), b""),
            closes=make.closing(NOON + 10),
            end=make.end_of(finished.process, NOON + 10),
        ),
    )
    with store.ledgers() as ledgers:
        ledger = ledgers.one(finished.process.id)
    assert ledger is not None
    assert ledger.process == finished.process
    assert ledger.retain_until_at == NOON + 10 + make.RETAIN
    assert [held.closed_at for held in ledger.exceptions] == [NOON + 10]
