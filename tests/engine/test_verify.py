"""Tokens of requests, and the keys of their issuers over time."""

from __future__ import annotations

import asyncio

import pytest

from strangler.domain.exchange import Header
from strangler.engine.identity import caller_name, claimed, identify
from strangler.engine.key_ring import FRESH, PAUSE, STALE
from strangler.engine.verify import Rejected, Undecided, Verifier
from strangler.policy.model import AccessPolicy, JwtPolicy
from tests.engine.admitting import Published, document
from tests.engine.tokens import ISSUER, URL, Signer
from tests.engine.world import IDENTITY_KEY, FakeClock, Silent, a_request

POLICY = JwtPolicy(jwks=URL, issuer=ISSUER)
ACCESS = AccessPolicy(identity=("jwt:sub", "header:X-Api-Key"), name="jwt:client_id", jwt=POLICY)
OLD, NEW = Signer("old"), Signer("new")


def bearing(token: bytes, scheme: bytes = b"Bearer") -> Header:
    return b"Authorization", scheme + b" " + token


class Desk:
    """A verifier with one issuer."""

    def __init__(self, published: Published | None = None) -> None:
        self.clock = FakeClock()
        self.instrument = Silent()
        self.published = published or Published(OLD.published())
        self.verifier = Verifier(self.published, self.clock, self.instrument)

    async def verdict(self, token: bytes, policy: JwtPolicy = POLICY) -> Rejected | Undecided | None:
        return await self.verifier.verify(a_request(headers=[bearing(token)]), policy)

    async def settled(self) -> None:
        """Until no fetch is under way."""
        for _ in range(10):
            await asyncio.sleep(0)

    def notes(self) -> list[str]:
        return [values[0] for name, values in self.instrument.told if name == "note"]


async def caller(desk: Desk, *headers: Header, access: AccessPolicy = ACCESS) -> str | None:
    """Who a request is from."""
    request = a_request(headers=headers)
    assert access.jwt is not None
    assert await desk.verifier.verify(request, access.jwt) is None
    return identify(request, access, IDENTITY_KEY)


async def test_a_refreshed_token_is_the_same_caller() -> None:
    desk = Desk(Published(OLD.published(), NEW.published()))
    first = await caller(desk, bearing(OLD.token(jti="1")))
    assert first is not None
    assert await caller(desk, bearing(NEW.token(jti="2"))) == first
    assert await caller(desk, bearing(NEW.token(sub="bob"))) != first


async def test_the_same_name_with_two_issuers_is_two_callers() -> None:
    desk = Desk()
    anybody = AccessPolicy(identity=("jwt:sub",), jwt=JwtPolicy(jwks=URL))
    one = await caller(desk, bearing(OLD.token()), access=anybody)
    assert await caller(desk, bearing(OLD.token(iss="https://other.example/")), access=anybody) not in (None, one)


async def test_a_claim_is_no_header_of_the_same_value() -> None:
    desk = Desk()
    by_header = AccessPolicy(identity=("header:X-Api-Key",), jwt=POLICY)
    key: Header = (b"X-Api-Key", b"alice")
    assert await caller(desk, bearing(OLD.token())) != await caller(desk, key, access=by_header)


async def test_who_bears_no_token_is_known_by_what_comes_next() -> None:
    desk = Desk()
    key: Header = (b"X-Api-Key", b"k-1")
    by_key = await caller(desk, key)
    assert by_key is not None
    assert await caller(desk) is None
    assert await caller(desk, key, bearing(b"YTpi", b"Basic")) == by_key
    # A claim that is missing, or no name, is as if it were not there.
    for sub in (None, "", ["alice"], True, 1.5):
        assert await caller(desk, key, bearing(OLD.token(sub=None, uid=sub))) == by_key
    assert await caller(desk, bearing(OLD.token(sub=None, uid="alice"))) is None


async def test_a_number_can_name_a_caller() -> None:
    by_uid = AccessPolicy(identity=("jwt:uid",), jwt=POLICY)
    assert await caller(Desk(), bearing(OLD.token(uid=7)), access=by_uid) is not None


async def test_a_token_that_nobody_verified_names_nobody() -> None:
    request = a_request(headers=[bearing(OLD.token())])
    assert identify(request, ACCESS, IDENTITY_KEY) is None
    assert caller_name(request, ACCESS) is None


async def test_a_rollout_sees_what_a_token_claims() -> None:
    found = claimed(a_request(headers=[bearing(Signer("x").token(sub="carol"))]), ACCESS)
    assert found is not None
    assert found.value == b"carol"
    for text in (b"", b"a.b", b"a.!.c", b"a.W10.c", b"a.e30.c", b"a." + b"b" * 20_000 + b".c"):
        assert claimed(a_request(headers=[bearing(text)]), ACCESS) is None


async def test_the_label_of_a_caller_may_stand_in_the_token() -> None:
    desk = Desk()
    request = a_request(headers=[bearing(OLD.token(client_id="broker-a"), b"bEARER")])
    assert await desk.verifier.verify(request, POLICY) is None
    assert caller_name(request, ACCESS) == "broker-a"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (OLD.token(exp=1), "expired"),
        (OLD.token(iss="https://mallory.example/"), "another issuer"),
        (b"opaque", "malformed"),
        (b"", "malformed"),
        (OLD.token() + b", Bearer " + OLD.token(), "malformed"),
        (Signer("old").token(), "signature"),
    ],
)
async def test_a_token_that_is_not_good_is_rejected(token: bytes, reason: str) -> None:
    verdict = await Desk().verdict(token)
    assert isinstance(verdict, Rejected)
    assert reason in verdict.reason


async def test_the_keys_are_fetched_before_anybody_asks() -> None:
    desk = Desk()
    desk.verifier.load([POLICY, POLICY])
    await desk.settled()
    assert desk.published.asked == [URL]
    assert await desk.verdict(OLD.token()) is None
    assert desk.published.asked == [URL]


async def test_several_who_wait_for_keys_wait_for_one_fetch() -> None:
    desk = Desk()
    verdicts = await asyncio.gather(*(desk.verdict(OLD.token()) for _ in range(5)))
    assert verdicts == [None] * 5
    assert len(desk.published.asked) == 1


async def test_a_new_key_is_taken_up_when_a_token_names_it() -> None:
    desk = Desk()
    assert await desk.verdict(OLD.token()) is None
    desk.published.document = document(OLD.published(), NEW.published())
    desk.clock.pass_(PAUSE)
    assert await desk.verdict(NEW.token()) is None
    assert await desk.verdict(OLD.token()) is None


async def test_a_key_that_is_not_published_any_more_is_good_no_more() -> None:
    desk = Desk()
    assert await desk.verdict(OLD.token()) is None
    desk.published.document = document(NEW.published())
    desk.clock.pass_(PAUSE)
    assert await desk.verdict(NEW.token()) is None
    assert isinstance(await desk.verdict(OLD.token()), Rejected)


async def test_a_key_without_a_name_is_exchanged_too() -> None:
    first, second = Signer(None), Signer(None)
    desk = Desk(Published(first.published()))
    assert await desk.verdict(first.token()) is None
    desk.published.document = document(second.published())
    desk.clock.pass_(PAUSE)
    assert await desk.verdict(second.token()) is None


async def test_made_up_keys_have_the_issuer_asked_rarely() -> None:
    desk = Desk()
    assert await desk.verdict(OLD.token()) is None
    for number in range(50):
        assert isinstance(await desk.verdict(Signer(f"made-up-{number}").token()), Rejected)
    assert len(desk.published.asked) == 1
    desk.clock.pass_(PAUSE)
    await asyncio.gather(*(desk.verdict(NEW.token()) for _ in range(50)))
    assert len(desk.published.asked) == 2


async def test_old_keys_are_renewed_beside_the_traffic() -> None:
    desk = Desk()
    assert await desk.verdict(OLD.token()) is None
    desk.published.document = document(NEW.published())
    desk.clock.pass_(FRESH + 1)
    assert await desk.verdict(OLD.token(exp=4_000_000_000)) is None
    await desk.settled()
    assert len(desk.published.asked) == 2
    assert isinstance(await desk.verdict(OLD.token(exp=4_000_000_000)), Rejected)


async def test_very_old_keys_are_renewed_before_they_count() -> None:
    desk = Desk()
    assert await desk.verdict(OLD.token()) is None
    desk.published.document = document(NEW.published())
    desk.clock.pass_(STALE + 1)
    assert isinstance(await desk.verdict(OLD.token(exp=4_000_000_000)), Rejected)


async def test_while_the_issuer_is_down_its_last_keys_are_good() -> None:
    desk = Desk()
    assert await desk.verdict(OLD.token()) is None
    for broken in (None, b"<html>down for maintenance</html>", document({"kty": "oct"})):
        desk.published.document = broken
        desk.clock.pass_(STALE + 1)
        assert await desk.verdict(OLD.token(exp=4_000_000_000)) is None
    desk.published.document = document(OLD.published())
    desk.clock.pass_(STALE + 1)
    assert await desk.verdict(OLD.token(exp=4_000_000_000)) is None
    assert desk.notes() == ["keys_not_fetched"] * 3 + ["keys_fetched"]


async def test_without_any_keys_nobody_can_say() -> None:
    desk = Desk(Published())
    assert await desk.verdict(OLD.token()) == Undecided()
    assert await desk.verdict(OLD.token()) == Undecided()
    assert len(desk.published.asked) == 1
    desk.published.document = document(OLD.published())
    desk.clock.pass_(PAUSE)
    assert await desk.verdict(OLD.token()) is None


async def test_who_bears_no_token_waits_for_no_keys() -> None:
    desk = Desk(Published())
    assert await desk.verifier.verify(a_request(), POLICY) is None
    assert desk.published.asked == []


async def test_keys_in_a_file_are_those_that_the_policy_was_read_with() -> None:
    desk = Desk()
    for signer in (OLD, NEW):
        desk.published.document = document(signer.published())
        policy = JwtPolicy(jwks="/etc/keys.json", document=desk.published.document)
        desk.verifier.load([policy])
        assert await desk.verdict(signer.token(), policy) is None
    assert isinstance(await desk.verdict(OLD.token(), policy), Rejected)


async def test_what_one_policy_takes_another_may_not() -> None:
    desk = Desk()
    request = a_request(headers=[bearing(OLD.token())])
    assert await desk.verifier.verify(request, POLICY) is None
    other = JwtPolicy(jwks=URL, issuer=ISSUER, audience=("others",))
    assert isinstance(await desk.verifier.verify(request, other), Rejected)
    assert identify(request, AccessPolicy(identity=("jwt:sub",), jwt=other), IDENTITY_KEY) is None
