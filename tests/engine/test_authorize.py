"""The upstream is asked who may."""

from __future__ import annotations

import asyncio

import pytest

from strangler.domain.exchange import Answer, Fault, FaultKind, Header, Peer, Request
from strangler.domain.problem import Problem
from strangler.engine import authorize
from strangler.engine.authorize import Authorizer, Barred
from strangler.policy.model import AuthorizePolicy
from strangler.policy.upstreams import Forward, Upstream
from strangler.ports import Outgoing, ReplySink
from tests.engine.world import IDENTITY_KEY, FakeClock, FakeIds, Reply, ScriptedUpstream, Silent, a_request

POLICY = AuthorizePolicy(path="/may")
LEGACY = Upstream(name="legacy", scheme="http", host="legacy.example", port=80, base_path="/v1")
ALICE: Header = (b"Authorization", b"Bearer alice")


class Gate:
    """An authorizer over an upstream with a script."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.upstream = ScriptedUpstream()
        self.instrument = Silent()
        self.authorizer = Authorizer(
            self.upstream,
            self.clock,
            FakeIds(),
            self.instrument,
            identity_key=IDENTITY_KEY,
            trusted=lambda peer: peer.address == "192.0.2.1",
        )

    async def ask(
        self,
        *headers: Header,
        policy: AuthorizePolicy = POLICY,
        upstream: Upstream = LEGACY,
        path: str = "/may",
        request: Request | None = None,
    ) -> Barred | None:
        asking = request or a_request(headers=headers)
        return await self.authorizer.ask(policy, upstream, ("header:X-Who", "cookie:sid"), asking, path)

    @property
    def asked(self) -> int:
        return len(self.upstream.sent)


def fields(request: Outgoing) -> list[Header]:
    return [(name.lower(), value) for name, value in request.headers]


async def test_it_is_asked_with_the_credentials_of_the_client_and_nothing_else_of_it() -> None:
    gate = Gate()
    cookies: list[Header] = [(b"Cookie", b"sid=1"), (b"cookie", b"lang=de")]
    more: list[Header] = [(b"x-who", b"alice"), (b"X-Secret-Wish", b"no"), (b"X-Correlation-ID", b"c-1")]

    assert await gate.ask(ALICE, *cookies, *more, policy=AuthorizePolicy(path="/may", method="POST")) is None

    (question,) = gate.upstream.sent
    assert (question.method, question.target, question.body.size) == ("POST", b"/v1/may", 0)
    assert fields(question) == [
        (b"host", b"claims.example"),
        (b"accept-encoding", b"identity"),
        (b"authorization", b"Bearer alice"),
        (b"cookie", b"sid=1"),
        (b"cookie", b"lang=de"),
        (b"x-who", b"alice"),
        (b"x-forwarded-for", b"192.0.2.7"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"claims.example"),
        (b"via", b"1.1 strangler"),
        (b"x-correlation-id", b"c-1"),
    ]


async def test_what_a_trusted_proxy_says_of_the_client_goes_along() -> None:
    gate = Gate()
    headers = ((b"Host", b"a"), (b"X-Forwarded-For", b"203.0.113.9"))
    for address, told in (("192.0.2.1", b"203.0.113.9, 192.0.2.1"), ("192.0.2.2", b"192.0.2.2")):
        asking = a_request()
        request = Request("GET", b"/", headers, Peer(address, 1), asking.body)
        await gate.ask(request=request, policy=AuthorizePolicy(path="/may", cache=0.0))
        assert dict(fields(gate.upstream.sent[-1]))[b"x-forwarded-for"] == told


async def test_an_upstream_that_wants_its_own_name_gets_it() -> None:
    gate = Gate()
    own = Upstream(
        name="legacy", scheme="http", host="h", port=8080, host_header="upstream", forward=Forward(x_forwarded=False)
    )
    await gate.ask(upstream=own)
    assert dict(fields(gate.upstream.sent[0]))[b"host"] == b"h:8080"


async def test_the_question_is_a_span_of_the_clients_trace() -> None:
    gate = Gate()
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await gate.ask((b"traceparent", trace))
    sent = dict(fields(gate.upstream.sent[0]))[b"traceparent"]
    assert sent[:36] == trace[:36]
    assert sent != trace


@pytest.mark.parametrize("status", [200, 201, 204, 299])
async def test_any_success_lets_it_in(status: int) -> None:
    gate = Gate()
    gate.upstream.script = [Reply(status)]
    assert await gate.ask(ALICE) is None


@pytest.mark.parametrize(("status", "name"), [(401, "unauthenticated"), (403, "forbidden")])
async def test_a_refusal_is_passed_on_as_it_was_said(status: int, name: str) -> None:
    gate = Gate()
    headers: list[Header] = [
        (b"Content-Type", b"text/plain"),
        (b"WWW-Authenticate", b"Basic"),
        (b"WWW-Authenticate", b"Negotiate"),
        (b"Set-Cookie", b"sid=2"),
        (b"X-Powered-By", b"COBOL"),
    ]
    gate.upstream.script = [Reply(status, b"go away", headers)]

    barred = await gate.ask(ALICE)

    assert barred is not None
    assert barred.name == name
    assert barred.answer == Answer(status, [*headers[:3], (b"Cache-Control", b"no-store")], b"go away")


async def test_a_refusal_that_goes_on_and_on_is_said_in_our_words() -> None:
    gate = Gate()
    gate.upstream.script = [Reply(401, b"x" * 70_000, [(b"WWW-Authenticate", b"Basic")])]
    barred = await gate.ask(ALICE)
    assert barred is not None
    assert isinstance(barred.answer, Problem)
    assert barred.answer.document["code"] == "unauthenticated"
    assert (b"WWW-Authenticate", b"Basic") in barred.answer.headers


async def test_a_success_that_goes_on_and_on_is_one() -> None:
    gate = Gate()
    gate.upstream.script = [Reply(200, b"x" * 70_000)]
    assert await gate.ask(ALICE) is None


@pytest.mark.parametrize("reply", [Reply(500), Reply(404), Reply(302), Reply(429), Reply(100)])
async def test_any_other_answer_is_none(reply: Reply) -> None:
    gate = Gate()
    gate.upstream.script = [reply]
    barred = await gate.ask(ALICE)
    assert barred is not None
    assert (barred.name, barred.answer.status) == ("authorization-unavailable", 503)
    assert (b"Retry-After", b"5") in barred.answer.headers
    assert gate.instrument.told == [
        ("note", ("authorization_unanswered", "warning", "legacy", f"the answer was {reply.status}"))
    ]


async def test_a_defect_of_ours_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()

    async def broken(question: Outgoing, sink: ReplySink, may_send: object) -> Fault | None:
        raise RuntimeError("a defect")

    gate.upstream.script = [broken]
    told: list[str] = []
    monkeypatch.setattr(gate.instrument, "failed", lambda where, error: told.append(where), raising=False)
    barred = await gate.ask(ALICE)
    assert barred is not None
    assert (barred.name, told) == ("authorization-unavailable", ["authorize"])


async def test_an_upstream_that_cannot_be_reached_lets_nobody_in() -> None:
    gate = Gate()
    gate.upstream.script = [Fault(FaultKind.NOT_SENT, "connection refused")]
    barred = await gate.ask(ALICE)
    assert barred is not None
    assert barred.name == "authorization-unavailable"


async def test_an_upstream_that_says_nothing_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorize, "TIMEOUT", 0.01)
    gate = Gate()

    async def silent(question: Outgoing, sink: ReplySink, may_send: object) -> Fault | None:
        await asyncio.Event().wait()
        raise AssertionError

    gate.upstream.script = [silent]
    barred = await gate.ask(ALICE)
    assert barred is not None
    assert barred.name == "authorization-unavailable"
    assert gate.instrument.told[0][1][-1] == "no answer within 0.01 s"


async def test_a_yes_is_remembered_for_a_while() -> None:
    gate = Gate()
    for _ in range(3):
        assert await gate.ask(ALICE) is None
    assert gate.asked == 1
    gate.clock.pass_(30)
    assert await gate.ask(ALICE) is None
    assert gate.asked == 2


async def test_a_no_is_not_remembered() -> None:
    gate = Gate()
    gate.upstream.script = [Reply(403), Reply(200)]
    assert await gate.ask(ALICE) is not None
    assert await gate.ask(ALICE) is None


async def test_a_yes_is_for_these_credentials_and_this_question_alone() -> None:
    gate = Gate()
    other = Upstream(name="other", scheme="http", host="other.example", port=80, base_path="/v1")
    assert await gate.ask(ALICE) is None
    gate.upstream.script = [Reply(403)]
    assert await gate.ask((b"Authorization", b"Bearer bob")) is not None
    assert await gate.ask() is not None
    assert await gate.ask(ALICE, (b"Cookie", b"sid=1")) is not None
    assert await gate.ask(ALICE, (b"X-Who", b"bob")) is not None
    assert await gate.ask(ALICE, path="/may/not") is not None
    assert await gate.ask(ALICE, policy=AuthorizePolicy(path="/may", method="HEAD")) is not None
    assert await gate.ask(ALICE, upstream=other) is not None
    assert await gate.ask(ALICE, (b"X-Other", b"1")) is None


async def test_credentials_are_never_kept() -> None:
    gate = Gate()
    await gate.ask((b"Authorization", b"Bearer hunter2"))
    kept = repr(vars(gate.authorizer)) + repr(gate.instrument.told)
    assert "hunter2" not in kept


async def test_without_a_cache_every_request_is_asked_about() -> None:
    gate = Gate()
    for _ in range(2):
        assert await gate.ask(ALICE, policy=AuthorizePolicy(path="/may", cache=0.0)) is None
    assert gate.asked == 2


async def test_what_is_remembered_is_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorize, "_MOST_KEPT", 2)
    gate = Gate()
    for path in ("/1", "/2", "/3"):
        assert await gate.ask(ALICE, path=path) is None
    assert await gate.ask(ALICE, path="/3") is None
    assert gate.asked == 3
    assert await gate.ask(ALICE, path="/1") is None
    assert gate.asked == 4


@pytest.mark.parametrize("script", [Reply(403, b"no", [(b"Content-Type", b"text/plain")]), Reply(500)])
async def test_each_who_waits_is_given_an_answer_of_its_own(script: Reply) -> None:
    gate = Gate()
    gate.upstream.script = [script]
    one, other = await asyncio.gather(gate.ask(ALICE), gate.ask(ALICE))
    assert gate.asked == 1
    assert one is not None
    assert other is not None
    assert one == other
    one.answer.headers.append((b"Access-Control-Allow-Origin", b"https://one.example"))
    assert b"Access-Control-Allow-Origin" not in dict(other.answer.headers)


async def test_several_who_wait_for_the_same_answer_ask_once_and_one_may_leave() -> None:
    gate = Gate()
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(question: Outgoing, sink: ReplySink, may_send: object) -> Fault | None:
        asked.set()
        await answer.wait()
        sink.head(204, b"", [])
        return None

    gate.upstream.script = [slow]
    waiting = [asyncio.create_task(gate.ask(ALICE)) for _ in range(3)]
    await asked.wait()
    waiting[0].cancel()
    answer.set()
    assert await asyncio.gather(*waiting[1:]) == [None, None]
    assert gate.asked == 1


async def test_not_more_than_so_many_are_asked_about_at_once() -> None:
    gate = Gate()
    running = most = 0
    answer = asyncio.Event()

    async def slow(question: Outgoing, sink: ReplySink, may_send: object) -> Fault | None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await answer.wait()
        running -= 1
        sink.head(204, b"", [])
        return None

    gate.upstream.script = [slow]
    waiting = [asyncio.create_task(gate.ask(ALICE, path=f"/{number}")) for number in range(40)]
    while running < authorize.AT_ONCE:
        await asyncio.sleep(0)
    answer.set()
    assert await asyncio.gather(*waiting) == [None] * 40
    assert most == authorize.AT_ONCE


async def test_past_a_bound_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorize, "_MOST_ASKED", 1)
    gate = Gate()
    answer = asyncio.Event()

    async def slow(question: Outgoing, sink: ReplySink, may_send: object) -> Fault | None:
        await answer.wait()
        sink.head(204, b"", [])
        return None

    gate.upstream.script = [slow]
    first = asyncio.create_task(gate.ask(ALICE))
    await asyncio.sleep(0)
    barred = await gate.ask(ALICE, path="/other")
    assert barred is not None
    assert barred.name == "authorization-unavailable"
    answer.set()
    assert await first is None
