"""Who is let in before a request is accepted, and where in the order of refusal that stands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from strangler.domain.exchange import Fault, FaultKind, Header
from strangler.engine.authorize import Barred
from strangler.engine.submission import Accepted, Joined, Pass, Refused, Submission
from strangler.policy.decide import Decision
from strangler.policy.model import AcceptPolicy, AccessPolicy, AuthorizePolicy, JwtPolicy, Mode
from tests.engine.admitting import document
from tests.engine.tokens import ISSUER, URL, Signer
from tests.engine.world import ASYNC, COMPAT, Pieces, Reply, World, a_request, a_route

SIGNER = Signer("one")
JWT = JwtPolicy(jwks=URL, issuer=ISSUER, audience=("claims",))
TOKENS = AccessPolicy(identity=("jwt:sub", "header:X-Api-Key"), name="jwt:client_id", jwt=JWT)
ASKED = AccessPolicy(identity=("basic:user",), name="basic:user", authorize=AuthorizePolicy(path="/may"))
BASIC: Header = (b"Authorization", b"Basic YWxpY2U6c2VjcmV0")  # alice:secret


def bearer(**claims: Any) -> Header:
    return b"Authorization", b"Bearer " + SIGNER.token(**{"aud": "claims", **claims})


def guarded(world: World, access: AccessPolicy, **route: Any) -> World:
    """A world whose route has this access, and the keys of an issuer."""
    world.load(a_route(access=access, **route))
    world.published.document = document(SIGNER.published())
    return world


def headers_of(barred: object) -> dict[bytes, bytes]:
    assert isinstance(barred, Barred), barred
    return dict(barred.answer.headers)


async def test_who_bears_a_good_token_is_accepted_under_its_name(world: World) -> None:
    guarded(world, TOKENS)
    first = await world.accepted(a_request(headers=[bearer(client_id="broker-a")]))
    again = await world.accepted(a_request(headers=[bearer(jti="another token")]))
    assert first.caller is not None
    assert (first.caller, first.caller_name) == (again.caller, "broker-a")


async def test_who_bears_no_token_is_known_by_what_comes_next_or_not_at_all(world: World) -> None:
    guarded(world, TOKENS)
    assert (await world.accepted(a_request())).caller is None
    assert (await world.accepted(a_request(headers=[(b"X-Api-Key", b"k")]))).caller is not None


@pytest.mark.parametrize("decision", [ASYNC, COMPAT])
async def test_a_token_that_is_not_good_is_challenged_and_nothing_is_recorded(world: World, decision: Decision) -> None:
    guarded(world, TOKENS)
    barred = await world.submit(a_request(headers=[bearer(exp=1)]), decision)
    assert headers_of(barred)[b"WWW-Authenticate"] == (
        b'Bearer error="invalid_token", error_description="the token has expired"'
    )
    assert isinstance(barred, Barred)
    assert (barred.name, barred.answer.status) == ("unauthenticated", 401)
    assert world.upstream.sent == []
    assert await world.store.census() == []


async def test_without_keys_nobody_with_a_token_is_let_in(world: World) -> None:
    guarded(world, TOKENS)
    world.published.document = None
    barred = await world.submit(a_request(headers=[bearer()]))
    assert isinstance(barred, Barred)
    assert (barred.name, headers_of(barred)[b"Retry-After"]) == ("authorization-unavailable", b"5")
    assert isinstance(await world.submit(a_request()), Accepted)


async def test_a_report_is_about_what_is_accepted_and_not_about_who(world: World) -> None:
    guarded(world, TOKENS, accept=AcceptPolicy(enforce="report"))
    assert isinstance(await world.submit(a_request(headers=[bearer(exp=1)])), Barred)


async def test_the_upstream_is_asked_first_and_then_called(world: World) -> None:
    guarded(world, ASKED)
    process = await world.accepted(a_request(headers=[BASIC]))
    await world.ended(process.id)
    assert [call.target for call in world.upstream.sent] == [b"/may", b"/claims"]
    assert process.caller is not None
    assert process.caller_name == "alice"


async def test_another_password_is_the_same_caller_once_the_upstream_has_taken_it(world: World) -> None:
    guarded(world, ASKED)
    first = await world.accepted(a_request(headers=[BASIC]))
    second = await world.accepted(a_request(headers=[(b"authorization", b"basic YWxpY2U6bmV3")]))
    assert first.caller == second.caller


@pytest.mark.parametrize("value", [b"Basic", b"Basic !", b"Basic YWxpY2U=", b"Basic OnNlY3JldA==", b"Bearer YWxpY2U6"])
async def test_what_names_no_user_names_nobody(world: World, value: bytes) -> None:
    guarded(world, ASKED)
    assert (await world.accepted(a_request(headers=[(b"Authorization", value)]))).caller is None


async def test_what_the_upstream_refuses_is_passed_on_and_nothing_is_recorded(world: World) -> None:
    guarded(world, ASKED)
    world.upstream.script = [Reply(401, b"who?", [(b"WWW-Authenticate", b"Basic")])]
    barred = await world.submit(a_request(headers=[BASIC]))
    assert isinstance(barred, Barred)
    assert (barred.answer.status, barred.answer.body) == (401, b"who?")
    assert await world.store.census() == []


async def test_while_the_upstream_cannot_say_nobody_is_let_in(world: World) -> None:
    guarded(world, ASKED)
    world.upstream.script = [Fault(FaultKind.NOT_SENT, "connection refused")]
    barred = await world.submit(a_request(headers=[BASIC]))
    assert isinstance(barred, Barred)
    assert barred.answer.status == 503


async def test_what_is_asked_can_be_about_the_request(world: World) -> None:
    path = '/may/{method}/{path.id}/{query.kind}/{headers."x-a"}/{caller.name}'
    access = replace(TOKENS, authorize=AuthorizePolicy(path=path))
    route = a_route(access=access)
    guarded(world, access)
    world.routes["submit-claim"] = replace(route, match=replace(route.match, paths=("/claims/{id}",)))
    request = a_request(target=b"/claims/7%2F8?kind=a%20b", headers=[(b"X-A", b"1"), bearer(client_id="broker")])
    assert isinstance(await world.submit(request), Accepted)
    assert world.upstream.sent[0].target == b"/may/POST/7%2F8/a%20b/1/broker"


async def test_what_cannot_be_asked_lets_nobody_in(world: World) -> None:
    guarded(world, AccessPolicy(authorize=AuthorizePolicy(path="/may/{query.kind}")))
    for target in (b"/claims", b"/claims?kind=", b"/claims?kind=.."):
        barred = await world.submit(a_request(target=target))
        assert isinstance(barred, Barred)
        assert barred.name == "authorization-unavailable"
    assert world.upstream.sent == []


async def test_a_bad_token_is_refused_before_the_upstream_is_asked(world: World) -> None:
    guarded(world, replace(TOKENS, authorize=AuthorizePolicy(path="/may")))
    assert isinstance(await world.submit(a_request(headers=[bearer(exp=1)])), Barred)
    assert world.upstream.sent == []


class Unread(Pieces):
    """A body that nobody may read."""

    async def read(self) -> bytes:
        raise AssertionError("the body was read")


async def test_length_type_and_headers_come_before_credentials_and_the_body_after(world: World) -> None:
    accept = AcceptPolicy(content_types=("application/json",), require_headers=("X-Channel",), max_body=100)
    guarded(world, TOKENS, accept=accept)
    bad, channel = bearer(exp=1), (b"X-Channel", b"web")

    too_long = await world.submit(a_request(b"x" * 101, headers=[bad]))
    assert isinstance(too_long, Refused)
    assert too_long.name == "body-too-large"

    no_header = await world.submit(a_request(headers=[bad]))
    assert isinstance(no_header, Refused)
    assert no_header.name == "header-required"

    request = a_request(headers=[bad, channel, (b"Idempotency-Key", b'"broken')])
    request.body = Unread()
    barred = await world.submit(request)
    assert isinstance(barred, Barred)
    assert barred.name == "unauthenticated"


PASSES = Decision(Mode.PASSTHROUGH, 0.0, False, (), "mode of the route")
KEY: Header = (b"Idempotency-Key", b"k-1")


async def test_a_known_key_of_a_route_that_passes_through_is_answered_to_whom_it_belongs(world: World) -> None:
    guarded(world, TOKENS)
    process = await world.accepted(a_request(headers=[bearer(), KEY]))
    world.load(replace(world.route, mode=Mode.PASSTHROUGH))

    async def known(*headers: Header) -> object:
        request = a_request(headers=[KEY, *headers])
        return await world.acceptor.known(Submission(request, world.route, {}, PASSES, "https://public.example"))

    assert await known(bearer(jti="2")) == Joined(process.id)
    # What passes through is refused nothing here, and told nothing of others.
    assert await known(bearer(exp=1)) == Pass()
    assert await known(bearer(sub="bob")) == Pass()
    assert await known() == Pass()


async def test_a_known_key_is_answered_to_whom_the_upstream_lets_in(world: World) -> None:
    guarded(world, replace(ASKED, authorize=AuthorizePolicy(path="/may", cache=0.0)))
    process = await world.accepted(a_request(headers=[BASIC, KEY]))
    await world.ended(process.id)
    submission = Submission(a_request(headers=[BASIC, KEY]), world.route, {}, PASSES, "https://public.example")
    assert await world.acceptor.known(submission) == Joined(process.id)
    world.upstream.script = [Reply(401)]
    stranger = a_request(headers=[(b"Authorization", b"Basic YWxpY2U6d3Jvbmc="), KEY])
    passed = await world.acceptor.known(submission._replace(request=stranger))
    assert isinstance(passed, Pass)
    assert b"".join(passed.read) == b'{"amount": 12}'
