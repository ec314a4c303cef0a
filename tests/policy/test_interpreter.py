"""What the wall of a route looks at: a body that nobody asks for is not read, and functions of Python are known."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from strangler.policy.translate import Interpreter
from strangler.policy.wall import (
    Condition,
    Content,
    Formula,
    OutcomeRule,
    RequestTranslation,
    ResponseTranslation,
    Wall,
)

HOOK = Formula(python="package.module:function")
OF_STATUS = Formula(text="reply.body.code")


class Looks(NamedTuple):
    """At what, and how."""

    needs_request: bool = False
    looks_into_reply: bool = False
    request_hooks: bool = False
    reply_hooks: bool = False


REPLY = Looks(looks_into_reply=True)
REQUEST = Looks(needs_request=True)
HOOKED = Looks(needs_request=True, looks_into_reply=True, reply_hooks=True)


def looks(wall: Wall) -> Looks:
    found = Interpreter(wall, lambda name: lambda document: True)
    return Looks(found.needs_request, found.looks_into_reply, found.request_hooks, found.reply_hooks)


def rule(body: Formula | None = None, reason: Formula | None = None) -> OutcomeRule:
    return OutcomeRule(when=Condition(body=body), state="rejected", reason=reason)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ((), Looks()),
        ((rule(),), Looks()),
        ((rule(body=OF_STATUS),), REPLY),
        ((rule(), rule(reason=OF_STATUS)), REPLY),
        ((rule(body=HOOK),), HOOKED),
        ((rule(), rule(reason=HOOK)), HOOKED),
    ],
)
def test_what_a_rule_of_outcome_looks_at(rules: tuple[OutcomeRule, ...], expected: Looks) -> None:
    assert looks(Wall(paths=("/",), outcome=rules)) == expected


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (ResponseTranslation(), Looks()),
        (ResponseTranslation(status=201), Looks()),
        (ResponseTranslation(set_headers=(("X-A", "{query.a}"),)), Looks()),
        (ResponseTranslation(set_headers=(("X-A", "{reply.body.a}"),)), REPLY),
        (ResponseTranslation(set_headers=(("X-A", "{body.a}"),)), REQUEST),
        (ResponseTranslation(status="reply.body.a"), REPLY),
        (ResponseTranslation(status="soap.header.a"), REQUEST),
        (ResponseTranslation(when=Condition(body=OF_STATUS)), REPLY),
        (ResponseTranslation(when=Condition(body=HOOK)), HOOKED),
        (ResponseTranslation(content=Content(body=Formula(text="reply.body"))), REPLY),
        (ResponseTranslation(content=Content(body=Formula(text="path"))), Looks()),
        (ResponseTranslation(content=Content(body=Formula(text="@"))), Looks(True, True)),
        (ResponseTranslation(content=Content(body=HOOK)), HOOKED),
    ],
)
def test_what_the_translation_of_a_reply_looks_at(response: ResponseTranslation, expected: Looks) -> None:
    assert looks(Wall(paths=("/",), responses=(response,))) == expected
    assert looks(Wall(paths=("/",), responses=(ResponseTranslation(), response))) == expected


@pytest.mark.parametrize(("body", "hooks"), [(None, False), (Formula(text="body"), False), (HOOK, True)])
def test_whether_the_translation_of_a_request_calls_a_function(body: Formula | None, hooks: bool) -> None:
    translation = RequestTranslation(content=Content(body=body))
    assert looks(Wall(paths=("/",), request=translation)) == Looks(request_hooks=hooks)
