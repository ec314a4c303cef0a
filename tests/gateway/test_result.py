"""``…/result``: what the synchronous client would have got, or why there is nothing of the kind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strangler.domain.errors import InternalError
from strangler.domain.exchange import CHUNK_SIZE, Answer, Header
from strangler.domain.process import Effect, State
from strangler.domain.steps import Cancel, Doubt, Expire
from strangler.gateway.result import absolute_locations, no_reply
from tests.gateway.scene import ALICE, BASE, SENT, R, Scene, content, field, finish

DATE = b"Sat, 21 Nov 2026 10:00:00 GMT"
LARGE = bytes(range(256)) * (CHUNK_SIZE // 256 * 2) + b"the end"


async def code(answer: Answer) -> str:
    """The name of the problem that an answer tells of."""
    return str(json.loads(await content(answer))["code"])


# ── A recorded reply ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_reply_comes_as_it_was_told_to_nobody_else() -> None:
    scene = Scene()
    headers = [
        (b"content-TYPE", b"text/plain; charset=latin-1"),
        (b"X-Twice", b"1"),
        (b"Date", DATE),
        (b"X-Twice", b"\xe9"),
        (b"ETag", b'"a"'),
    ]
    process = await scene.replied(201, b"\x00\xff caf\xe9", headers, reason=b"Made")

    answer = await scene.ask("GET", process, "/result", ALICE)

    assert answer == Answer(
        201,
        [
            *headers,
            (b"Cache-Control", b"private, no-store"),
            (b"Strangler-Process", f"{BASE}{R}/{process.id}".encode()),
        ],
        b"\x00\xff caf\xe9",
        reason=b"Made",
    )


async def test_what_was_meant_for_that_call_only_is_left_out() -> None:
    scene = Scene()
    left_out = [
        (b"Set-Cookie", b"sid=1"),
        (b"set-cookie", b"other=2"),
        (b"Age", b"7"),
        (b"Expires", DATE),
        (b"Cache-Control", b"public, max-age=3600"),
        (b"Content-Length", b"10"),
        (b"Trailer", b"X-Sum"),
        (b"Strangler-Process", b"/inner"),
        (b"Strangler-Status", b"304"),
    ]
    process = await scene.replied(200, b'{"id": 77}', [(b"X-Kept", b"1"), *left_out])

    answer = await scene.ask("GET", process, "/result", ALICE)

    assert [name for name, _ in answer.headers] == [b"X-Kept", b"Cache-Control", b"Strangler-Process"]
    assert field(answer, "Cache-Control") == "private, no-store"


@pytest.mark.parametrize("body", [b"later", b"x" * (CHUNK_SIZE + 1)], ids=["short", "long"])
@pytest.mark.parametrize("status", [202, 304])
async def test_a_status_that_would_mislead_is_told_aside(status: int, body: bytes) -> None:
    scene = Scene()
    process = await scene.replied(status, body, reason=b"Whatever")

    answer = await scene.ask("GET", process, "/result", ALICE)

    assert (answer.status, answer.reason) == (200, b"")
    assert field(answer, "Strangler-Status") == str(status)
    assert await content(answer) == body


@pytest.mark.parametrize("status", [200, 204, 303, 404, 500])
async def test_other_statuses_are_told_as_they_were(status: int) -> None:
    scene = Scene()
    process = await scene.replied(status, b"")

    answer = await scene.ask("GET", process, "/result", ALICE)

    assert answer.status == status
    assert field(answer, "Strangler-Status") is None
    assert field(answer, "Strangler-Source") is None


@pytest.mark.parametrize(
    ("location", "target", "absolute"),
    [
        (b"/claims/77", b"/legacy/claims?x=1", b"https://public.example/claims/77"),
        (b"77", b"/legacy/claims?x=1", b"https://public.example/legacy/77"),
        (b"claims/77", b"/legacy/claims?x=1", b"https://public.example/legacy/claims/77"),
        (b"?page=2", b"/legacy/claims?x=1", b"https://public.example/legacy/claims?page=2"),
        (b"//other.example/x", b"/claims", b"https://other.example/x"),
        (b"https://legacy.example/claims/77", b"/claims", b"https://legacy.example/claims/77"),
        (b"urn:claim:77", b"/claims", b"urn:claim:77"),
        (b"/caf\xe9", b"/claims", b"https://public.example/caf\xe9"),
    ],
)
async def test_a_relative_location_is_made_absolute_against_the_original_target(
    location: bytes, target: bytes, absolute: bytes
) -> None:
    scene = Scene()
    headers = [(b"location", location), (b"Content-Location", location), (b"Link", b"</x>; rel=next")]
    process = await scene.replied(201, b"", headers, target=target)

    answer = await scene.ask("GET", process, "/result", ALICE)

    assert answer.headers[:3] == [(b"location", absolute), (b"Content-Location", absolute), headers[2]]


def test_a_base_with_a_path_is_a_part_of_the_original_target() -> None:
    headers = absolute_locations([(b"Location", b"77")], "https://public.example/v1", b"/claims/")

    assert headers == [(b"Location", b"https://public.example/v1/claims/77")]


def test_what_is_no_reference_is_told_as_it_came() -> None:
    assert absolute_locations([(b"Location", b"//[x/y")], "https://a.example", b"/") == [(b"Location", b"//[x/y")]


async def test_a_reply_in_chunks_is_streamed_with_its_length() -> None:
    scene = Scene()
    process = await scene.replied(200, LARGE)

    answer = await scene.ask("GET", process, "/result", ALICE)

    assert not isinstance(answer.body, bytes)
    assert answer.length == len(LARGE)
    pieces = [piece async for piece in answer.body]
    assert max(map(len, pieces)) <= CHUNK_SIZE
    assert b"".join(pieces) == LARGE


async def test_a_reply_in_chunks_is_not_read_before_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    process = await scene.replied(200, LARGE)

    async def refuse(process_id: str, part: str, index: int) -> bytes:
        raise AssertionError("read")

    monkeypatch.setattr(scene.store, "read_chunk", refuse)

    assert (await scene.ask("HEAD", process, "/result", ALICE)).length == len(LARGE)


async def test_a_lost_chunk_breaks_the_answer_off_and_is_no_shorter_reply() -> None:
    scene = Scene()
    process = await scene.replied(200, LARGE)
    await scene.store.discard_chunks(process.id, "reply-1")

    with pytest.raises(InternalError):
        await content(await scene.ask("GET", process, "/result", ALICE))


# ── Conditionals and ranges ──────────────────────────────────────────────────────────────────────────────────────────

TAGGED: list[Header] = [
    (b"Content-Type", b"text/plain"),
    (b"ETag", b'"a"'),
    (b"Last-Modified", DATE),
    (b"Vary", b"Accept"),
]


async def test_conditions_of_the_call_that_a_poller_sends_again_are_not_heeded() -> None:
    scene = Scene()
    process = await scene.replied(200, b"0123456789", TAGGED)
    again = [(b"If-Match", b'"of the claim"'), (b"If-Unmodified-Since", b"Sun, 06 Nov 1994 08:49:37 GMT")]

    answer = await scene.ask("GET", process, "/result", ALICE, *again)

    assert (answer.status, await content(answer)) == (200, b"0123456789")


@pytest.mark.parametrize("header", [(b"If-None-Match", b'"a"'), (b"If-None-Match", b"*"), (b"If-Modified-Since", DATE)])
async def test_who_has_the_stored_reply_gets_304(header: Header) -> None:
    scene = Scene()
    process = await scene.replied(200, b"0123456789", TAGGED)

    answer = await scene.ask("GET", process, "/result", ALICE, header)

    assert answer.status == 304
    assert await content(answer) == b""
    assert [name for name, _ in answer.headers] == [
        b"ETag",
        b"Last-Modified",
        b"Vary",
        b"Cache-Control",
        b"Strangler-Process",
    ]


@pytest.mark.parametrize("body", [b"0123456789", LARGE])
async def test_a_part_of_a_stored_reply_is_served(body: bytes) -> None:
    scene = Scene()
    process = await scene.replied(200, body, TAGGED)
    first, last = len(body) // 2 - 3, len(body) - 2

    answer = await scene.ask("GET", process, "/result", ALICE, (b"Range", b"bytes=%d-%d" % (first, last)))

    assert answer.status == 206
    assert field(answer, "Content-Range") == f"bytes {first}-{last}/{len(body)}"
    assert field(answer, "ETag") == '"a"'
    assert await content(answer) == body[first : last + 1]
    assert answer.length in (None, last - first + 1)


@settings(max_examples=30)
@given(st.integers(0, len(LARGE) - 1), st.integers(0, len(LARGE) - 1))
async def test_every_part_of_a_reply_in_chunks_is_the_right_one(one: int, other: int) -> None:
    scene = Scene()
    process = await scene.replied(200, LARGE)
    first, last = sorted((one, other))

    answer = await scene.ask("GET", process, "/result", ALICE, (b"Range", b"bytes=%d-%d" % (first, last)))

    assert answer.length == last - first + 1
    assert await content(answer) == LARGE[first : last + 1]


async def test_a_part_that_is_not_there_is_416() -> None:
    scene = Scene()
    process = await scene.replied(200, b"0123456789", TAGGED)

    answer = await scene.ask("GET", process, "/result", ALICE, (b"Range", b"bytes=10-"))

    assert answer.status == 416
    assert field(answer, "Content-Range") == "bytes */10"
    assert field(answer, "Strangler-Source") == "proxy"
    assert field(answer, "Strangler-Process") == f"{BASE}{R}/{process.id}"


@pytest.mark.parametrize("status", [201, 202, 404])
async def test_only_a_stored_200_has_parts_and_conditions(status: int) -> None:
    scene = Scene()
    process = await scene.replied(status, b"0123456789", TAGGED)

    for header in ((b"Range", b"bytes=0-3"), (b"If-None-Match", b'"a"'), (b"If-None-Match", b"*")):
        answer = await scene.ask("GET", process, "/result", ALICE, header)
        assert await content(answer) == b"0123456789"


# ── Without a reply ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("transitions", "effect"), [((), None), (SENT, None), ((*SENT, Doubt("x", settling=False)), "unknown")]
)
async def test_before_the_end_there_is_no_result(transitions: Any, effect: str | None) -> None:
    scene = Scene()
    process = await scene.process(*transitions)

    answer = await scene.ask("GET", process, "/result", ALICE)
    document = json.loads(await content(answer))

    assert (answer.status, document["code"]) == (404, "result-not-ready")
    assert field(answer, "Retry-After") == ("30" if effect else "3")
    assert document.get("effect") == effect
    assert field(answer, "Strangler-Effect") == effect


@pytest.mark.parametrize(
    ("transitions", "status", "name", "effect"),
    [
        ((*SENT, finish(State.FAILED, Effect.UNKNOWN, reason="upstream-failed")), 502, "upstream-failed", "unknown"),
        ((*SENT, finish(State.FAILED, Effect.NONE, reason="credentials-expired")), 502, "upstream-failed", "none"),
        ((*SENT, finish(State.FAILED, Effect.UNKNOWN, reason="upstream-timeout")), 504, "upstream-timeout", "unknown"),
        ((Expire(),), 504, "expired", "none"),
        ((Cancel(),), 410, "cancelled", "none"),
    ],
)
async def test_an_end_without_a_reply_is_a_problem_that_says_whether_to_try_again(
    transitions: Any, status: int, name: str, effect: str
) -> None:
    scene = Scene()
    process = await scene.process(*transitions)

    answer = await scene.ask("GET", process, "/result", ALICE)
    document = json.loads(await content(answer))

    assert (answer.status, document["code"], document["status"]) == (status, name, status)
    assert document["process"] == f"{BASE}{R}/{process.id}"
    assert document["instance"] == f"{BASE}{R}/{process.id}/result"
    assert document["correlationId"] == "corr-1"
    assert document["effect"] == effect
    assert field(answer, "Content-Type") == "application/problem+json"
    assert field(answer, "Strangler-Source") == "proxy"
    assert field(answer, "Strangler-Effect") == ("unknown" if effect == "unknown" else None)
    assert field(answer, "Retry-After") is None


@pytest.mark.parametrize(("reason", "said"), [("E-17", "E-17"), (None, "it failed")])
async def test_a_failure_without_a_reply_says_why_where_that_is_known(reason: str | None, said: str) -> None:
    scene = Scene()
    process = await scene.process(*SENT, finish(State.FAILED, Effect.UNKNOWN, reason=reason))

    answer = await scene.ask("GET", process, "/result", ALICE)

    assert json.loads(await content(answer))["detail"] == f"there is no reply of the legacy system: {said}"


@pytest.mark.parametrize("state", [State.COMPLETED, State.REJECTED])
async def test_what_was_settled_without_a_reply_is_204(state: State) -> None:
    scene = Scene()
    process = await scene.process(*SENT, finish(state))

    answer = await scene.ask("GET", process, "/result", ALICE)

    assert answer.status == 204
    assert await content(answer) == b""
    assert field(answer, "Strangler-Process") == f"{BASE}{R}/{process.id}"
    assert field(answer, "Cache-Control") == "private, no-store"
    assert field(answer, "Strangler-Source") == "proxy"


async def test_a_reply_that_was_too_large_to_keep_is_410() -> None:
    scene = Scene()
    process = await scene.replied(200, b"0123456789", kept=False)

    answer = await scene.ask("GET", process, "/result", ALICE)

    assert answer.status == 410
    assert await code(answer) == "result-too-large"
    assert json.loads(await content(answer))["effect"] == "applied"


async def test_parts_that_are_past_their_retention_are_410_and_the_process_stays() -> None:
    scene = Scene()
    process = await scene.replied(200, b"0123456789", retain_bodies=1000, retain_history=1000)
    assert (await scene.ask("GET", process, "/result", ALICE)).status == 200
    before = json.loads(await content(await scene.ask("GET", process, "/status", ALICE)))
    assert "history" in before["links"]
    scene.clock.pass_(1)
    await scene.store.sweep(scene.clock.now(), 100)
    assert (await scene.ask("GET", process, "/result", ALICE)).status == 410
    assert await code(await scene.ask("GET", process, "/result", ALICE)) == "no-longer-kept"
    assert await code(await scene.ask("GET", process, "/history", ALICE)) == "no-longer-kept"
    document = json.loads(await content(await scene.ask("GET", process, "/status", ALICE)))
    assert document["result"]["status"] == 200
    assert "result" in document["links"]
    assert "history" not in document["links"]


async def test_there_is_no_such_answer_for_what_has_not_ended() -> None:
    with pytest.raises(InternalError):
        no_reply(await Scene().process())
