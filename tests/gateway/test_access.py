"""Who may see, and who may cancel."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from strangler.domain.exchange import Header
from strangler.gateway.access import challenge, foreign_page, may_cancel, may_cancel_own, may_read, vary
from strangler.policy.model import AccessPolicy, AuthorizePolicy
from tests.gateway.scene import ALICE, BOB, IDENTITY_KEY, Scene, a_promise, a_request

Who = Literal["caller", "anyone"] | None


async def seen_by(who: Header | None, submitter: Header | None, access: AccessPolicy) -> tuple[bool, bool]:
    """Whether ``who`` may (read, cancel) what ``submitter`` submitted."""
    scene = Scene(a_promise(access))
    process = await scene.process(by=submitter)
    request = a_request("GET", "/", *((who,) if who is not None else ()))
    return (
        may_read(request, process, access, IDENTITY_KEY),
        may_cancel(request, process, access, IDENTITY_KEY),
    )


@pytest.mark.parametrize(
    ("who", "submitter", "expected"),
    [
        (ALICE, ALICE, (True, True)),
        (BOB, ALICE, (False, False)),
        (None, ALICE, (False, False)),
        (ALICE, None, (True, False)),
        (None, None, (True, False)),
    ],
)
async def test_by_default_it_is_the_callers_and_anyones_where_there_was_no_identity(
    who: Header | None, submitter: Header | None, expected: tuple[bool, bool]
) -> None:
    assert await seen_by(who, submitter, AccessPolicy()) == expected


@pytest.mark.parametrize(
    ("read", "cancel", "bob"),
    [
        ("anyone", None, (True, False)),
        ("anyone", "anyone", (True, True)),
        ("anyone", "caller", (True, False)),
        ("caller", None, (False, False)),
    ],
)
async def test_the_policy_says_who_else(read: Who, cancel: Any, bob: tuple[bool, bool]) -> None:
    assert await seen_by(BOB, ALICE, AccessPolicy(read=read, cancel=cancel)) == bob


async def test_the_caller_may_not_cancel_what_nobody_may() -> None:
    assert await seen_by(ALICE, ALICE, AccessPolicy(cancel="nobody")) == (True, False)


async def test_what_anyone_may_read_nobody_may_cancel_unless_the_policy_says_who() -> None:
    assert await seen_by(ALICE, ALICE, AccessPolicy(read="anyone")) == (True, False)
    assert await seen_by(ALICE, ALICE, AccessPolicy(read="anyone", cancel="caller")) == (True, True)


async def test_what_was_submitted_without_identity_is_nobodys_where_only_the_caller_may_read() -> None:
    access = AccessPolicy(read="caller", cancel="caller")

    assert await seen_by(ALICE, None, access) == (False, False)
    assert await seen_by(None, None, access) == (False, False)
    assert not may_cancel_own(await Scene(a_promise(access)).process(by=None), access)


async def test_nothing_is_seen_where_there_is_nothing() -> None:
    assert not may_read(a_request("GET", "/", ALICE), None, AccessPolicy(read="anyone"), IDENTITY_KEY)


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ([], True),
        ([(b"Origin", b"https://evil.example")], True),
        ([(b"Origin", b"null")], True),
        ([(b"Origin", b"https://public.example")], False),
        ([(b"Origin", b"https://public.example:444")], True),
        ([(b"Origin", b"https://named.example")], False),
    ],
)
async def test_a_cookie_counts_only_from_pages_of_our_own_origin_and_those_named(
    headers: list[Header], foreign: bool
) -> None:
    access = AccessPolicy(identity=("header:Authorization", "cookie:sid"))
    process = await Scene(a_promise(access)).process(base="https://public.example/v1")
    cookie = (b"Cookie", b"sid=1")

    def named(origin: bytes) -> bool:
        return origin == b"https://named.example"

    assert foreign_page(a_request("DELETE", "/", cookie, *headers), process, access, named) is foreign
    assert foreign_page(a_request("DELETE", "/", cookie), process, access, lambda origin: True)
    assert not foreign_page(a_request("DELETE", "/", cookie, ALICE, *headers), process, access, named)
    assert not foreign_page(a_request("DELETE", "/", *headers), process, access, named)


async def test_where_the_upstream_is_asked_a_cookie_that_it_may_know_counts_only_from_such_pages() -> None:
    process = await Scene().process()
    cookie, foreign = (b"Cookie", b"session=1"), (b"Origin", b"https://evil.example")
    asked = AccessPolicy(authorize=AuthorizePolicy(path="/may"))

    def refused(access: AccessPolicy, *headers: Header) -> bool:
        return foreign_page(a_request("DELETE", "/", *headers), process, access, lambda origin: False)

    assert refused(asked, cookie, foreign)
    assert refused(asked, cookie)
    assert not refused(asked, foreign)
    assert not refused(AccessPolicy(), cookie, foreign)


def test_the_challenge_asks_for_what_the_policy_takes() -> None:
    assert challenge(AccessPolicy()) == b"Bearer"
    assert challenge(AccessPolicy(identity=("header:X-Api-Key", "query:k"))) == (
        b'Strangler identity="header:X-Api-Key query:k"'
    )
    assert challenge(AccessPolicy(identity=("header:X-Api-Key", "jwt:sub"))) == b"Bearer"
    assert challenge(AccessPolicy(identity=("basic:user",))) == b'Basic realm="processes", charset="UTF-8"'


def test_vary_names_the_fields_that_an_identity_may_stand_in() -> None:
    assert vary(AccessPolicy()) == b"Authorization, X-Api-Key"
    assert vary(AccessPolicy(identity=("cookie:a", "cookie:b", "header:X-A"))) == b"Cookie, X-A"
    assert vary(AccessPolicy(identity=("query:a", "tls:subject"))) == b""
    assert vary(AccessPolicy(identity=("jwt:sub", "basic:user", "header:authorization"))) == b"Authorization"
    asked = AccessPolicy(identity=("header:X-A",), authorize=AuthorizePolicy(path="/may"))
    assert vary(asked) == b"X-A, Authorization, Cookie"
