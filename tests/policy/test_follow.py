"""What an upstream that took it says when it is asked: by status, by header field, by document."""

from __future__ import annotations

from typing import Any

import pytest

from strangler.domain.exchange import Headers
from strangler.domain.outcome import Failed
from strangler.domain.process import Effect
from strangler.policy.expressions import Template
from strangler.policy.follow import (
    FOLLOW_REFUSED,
    MAX_TARGET,
    NOWHERE,
    OPERATION_FAILED,
    TEMPLATE_NAMES,
    Decided,
    Elsewhere,
    Judgement,
    Look,
    NotYet,
    Untold,
    is_target,
    judge,
    own_target,
    takes_time,
    whereto,
)
from strangler.policy.model import FollowPolicy

LOCATION = FollowPolicy()
MONITOR = FollowPolicy(header="operation-location")
TEMPLATE = FollowPolicy(
    header=None, template=Template('/{reply.status}/{reply.headers."x-job"}/{reply.body.job}', TEMPLATE_NAMES)
)
ASKED = "/jobs/17"
THERE: Headers = [(b"Location", b"/jobs/18")]
LATER: Headers = [(b"Retry-After", b"7")]


def said(follow: FollowPolicy, look: Look, *, result: bool = False, done: bool | None = None) -> Judgement:
    return judge(follow, look, ASKED, {"claims.example"}, 0, result=result, done=done)


@pytest.mark.parametrize(
    ("follow", "status", "name", "takes"),
    [
        (LOCATION, 202, None, True),
        (LOCATION, 201, b"Location", False),
        (LOCATION, 200, b"Operation-Location", False),
        (MONITOR, 202, None, True),
        (MONITOR, 200, None, False),
        (MONITOR, 200, b"Operation-Location", True),
        (MONITOR, 201, b"operation-location", True),
        (MONITOR, 299, b"Operation-Location", True),
        (MONITOR, 300, b"Operation-Location", False),
        (MONITOR, 400, b"Operation-Location", False),
        (TEMPLATE, 202, None, True),
        (TEMPLATE, 201, b"Location", False),
    ],
)
def test_the_work_goes_on_after_a_202_and_after_any_success_that_names_a_monitor(
    follow: FollowPolicy, status: int, name: bytes | None, takes: bool
) -> None:
    assert takes_time(follow, status, [(name, b"/jobs/17")] if name is not None else []) is takes


@pytest.mark.parametrize(
    ("text", "sound"),
    [
        ("/", True),
        ("/!~?x", True),
        ("/" + "x" * (MAX_TARGET - 1), True),
        ("/" + "x" * MAX_TARGET, False),
        ("", False),
        ("jobs/17", False),
        ("*", False),
        ("/a b", False),
        ("/a\x7f", False),
        ("/a\x80", False),
    ],
)
def test_a_place_is_a_path_in_visible_ascii_that_is_not_too_long(text: str, sound: bool) -> None:
    assert is_target(text) is sound


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (b"/jobs/18?x=1", "/jobs/18?x=1"),
        (b" 18 ", "/jobs/18"),
        (b"?x=1", "/jobs/17?x=1"),
        (b"https://claims.example", "/"),
        (b"http://Claims.Example?x=1", "/?x=1"),
        (b"http://upstream/a#b", "/a"),
        (b"http://elsewhere.example/a", None),
        (b"ftp://claims.example/a", None),
        (b"/a b", None),
    ],
)
def test_a_place_is_taken_relative_to_what_was_asked_and_only_where_it_is_the_upstreams_own(
    value: bytes, place: str | None
) -> None:
    assert own_target(value, ASKED.encode(), {"claims.example"}) == place


@pytest.mark.parametrize(("job", "place"), [("1 2", "/202/j-9/1%202"), ("x" * MAX_TARGET, None), (None, None)])
def test_a_template_knows_the_status_the_header_fields_and_the_body_of_the_reply(job: Any, place: str | None) -> None:
    look = Look(202, [(b"X-Job", b"j-9")], {"job": job})
    assert whereto(TEMPLATE, look, {}, ASKED.encode(), ()) == place


@pytest.mark.parametrize("status", [429, 500, 502, 503, 599])
@pytest.mark.parametrize("result", [False, True])
def test_who_cannot_be_asked_now_is_asked_again(status: int, result: bool) -> None:
    assert said(LOCATION, Look(status, LATER), result=result) == NotYet(7.0)
    assert said(LOCATION, Look(status, LATER), done=False) == NotYet(7.0)
    assert said(LOCATION, Look(status, LATER), done=True) == Decided()


@pytest.mark.parametrize(
    ("status", "result", "done", "judgement"),
    [
        (401, False, None, Untold(FOLLOW_REFUSED)),
        (403, True, False, Untold(FOLLOW_REFUSED)),
        (407, False, None, Untold(FOLLOW_REFUSED)),
        (410, True, None, Untold(FOLLOW_REFUSED)),
        (410, False, True, Decided()),
        (404, False, None, Untold(FOLLOW_REFUSED)),
        (404, True, None, Decided()),
        (404, False, False, NotYet()),
        (404, False, True, Decided()),
        (405, False, None, Decided()),
        (428, False, None, Decided()),
        (430, False, None, Decided()),
        (499, False, None, Decided()),
        (200, False, None, Decided()),
        (200, False, False, NotYet()),
        (202, False, None, NotYet()),
        (202, False, True, Decided()),
        (202, True, None, NotYet()),
        (201, True, None, Decided()),
        (203, True, None, Decided()),
        (300, False, None, Decided()),
        (304, False, None, Decided()),
        (306, False, None, Decided()),
        (309, False, None, Decided()),
    ],
)
@pytest.mark.parametrize("follow", [LOCATION, TEMPLATE])
def test_what_a_status_says(
    follow: FollowPolicy, status: int, result: bool, done: bool | None, judgement: Judgement
) -> None:
    assert said(follow, Look(status, []), result=result, done=done) == judgement


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("result", [False, True])
def test_who_sends_on_is_asked_there_and_a_303_names_the_result(status: int, result: bool) -> None:
    assert said(LOCATION, Look(status, THERE), result=result) == Elsewhere("/jobs/18", result or status == 303)


@pytest.mark.parametrize("headers", [[], [(b"Location", b"17")], [(b"Location", b"http://elsewhere.example/jobs/18")]])
def test_who_sends_on_to_no_other_place_of_its_own_tells_nothing(headers: Headers) -> None:
    assert said(LOCATION, Look(307, headers)) == Untold(NOWHERE)


@pytest.mark.parametrize(("status", "goes_on"), [(200, True), (204, True), (299, True), (300, False), (400, False)])
@pytest.mark.parametrize("follow", [LOCATION, MONITOR, TEMPLATE])
def test_a_success_with_a_retry_after_is_not_yet(follow: FollowPolicy, status: int, goes_on: bool) -> None:
    assert said(follow, Look(status, LATER)) == (NotYet(7.0) if goes_on else Decided())


def test_what_is_not_yet_may_be_asked_elsewhere_from_now_on() -> None:
    assert said(LOCATION, Look(202, [*THERE, *LATER])) == NotYet(7.0, "/jobs/18")
    assert said(LOCATION, Look(202, [(b"Location", b"http://elsewhere.example/")])) == NotYet()


@pytest.mark.parametrize(
    ("document", "judgement"),
    [
        ({"status": "Running"}, NotYet()),
        ({"status": "Succeeded"}, Decided()),
        ({"status": "succeeded", "resourceLocation": "/jobs/18"}, Elsewhere("/jobs/18", True)),
        ({"status": "Succeeded", "resourceLocation": 18}, Decided()),
        ({"status": "Succeeded", "resourceLocation": "http://elsewhere.example/"}, Decided()),
        ({"status": "Failed"}, Decided(Failed(OPERATION_FAILED, Effect.UNKNOWN))),
        ({"status": "CANCELLED", "error": {"code": "late"}}, Decided(Failed("late", Effect.UNKNOWN))),
        ({"status": "canceled", "error": {"code": ""}}, Decided(Failed(OPERATION_FAILED, Effect.UNKNOWN))),
        ({"status": "failed", "error": {"code": 7}}, Decided(Failed(OPERATION_FAILED, Effect.UNKNOWN))),
        ({"status": "failed", "error": "late"}, Decided(Failed(OPERATION_FAILED, Effect.UNKNOWN))),
        ({"status": 3}, Decided()),
        ({}, Decided()),
        (["status"], Decided()),
        (None, Decided()),
    ],
)
def test_what_the_document_of_a_monitor_says(document: Any, judgement: Judgement) -> None:
    assert said(MONITOR, Look(200, [], document)) == judgement
    assert said(MONITOR, Look(299, [], document)) == judgement
    assert said(MONITOR, Look(300, [], document)) == Decided()
    assert said(MONITOR, Look(200, [], document), result=True) == Decided()
    assert said(LOCATION, Look(200, [], document)) == Decided()
