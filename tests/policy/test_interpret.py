"""What a reply, or the lack of one, means by the built-in rules."""

from __future__ import annotations

from typing import Any

import pytest

from strangler.domain.exchange import Fault, FaultKind, Headers, Hindrance
from strangler.domain.outcome import Completed, Failed, InDoubt, Outcome, Pending, Rejected, Retry
from strangler.domain.process import Effect
from strangler.policy.interpret import (
    CONNECTION_LOST,
    CREDENTIALS_EXPIRED,
    GATEWAY_LOST_IT,
    REFUSED,
    TIMEOUT,
    UNREACHABLE,
    UPSTREAM_ERROR,
    WORKER_LOST,
    interpret_end,
    interpret_fault,
    interpret_reply,
)
from strangler.policy.model import CallPolicy, FollowPolicy

LATER: Headers = [(b"Retry-After", b"7")]


def call(**said: Any) -> CallPolicy:
    return CallPolicy(timeout=60.0, attempts=1, on_in_doubt="review", settle=75.0, **said)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(("timeout", "reason"), [(False, UNREACHABLE), (True, TIMEOUT)])
def test_what_was_not_sent_has_done_nothing_and_may_be_sent_again(again: bool, timeout: bool, reason: str) -> None:
    fault = Fault(FaultKind.NOT_SENT, "", timeout=timeout)
    expected = Retry(reason) if again else Failed(reason, Effect.NONE)
    assert interpret_fault(fault, call(retry_on_not_sent=again)) == expected


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("ours", Hindrance)
def test_what_we_could_not_send_is_still_to_be_sent(again: bool, ours: Hindrance) -> None:
    fault = Fault(FaultKind.NOT_SENT, "", ours=ours)
    assert interpret_fault(fault, call(retry_on_not_sent=again)) == Retry(ours.value)


@pytest.mark.parametrize(("ours", "reason"), [(Hindrance.DRAINING, WORKER_LOST), (Hindrance.DEFECT, "internal-error")])
def test_what_we_broke_off_is_in_doubt(ours: Hindrance, reason: str) -> None:
    assert interpret_fault(Fault(FaultKind.INTERRUPTED, "", ours=ours), call()) == InDoubt(reason)


@pytest.mark.parametrize(("timeout", "reason"), [(False, CONNECTION_LOST), (True, TIMEOUT)])
def test_what_was_sent_and_not_answered_is_in_doubt(timeout: bool, reason: str) -> None:
    assert interpret_fault(Fault(FaultKind.INTERRUPTED, "", timeout=timeout), call()) == InDoubt(reason)


@pytest.mark.parametrize(
    ("method", "status", "outcome"),
    [
        ("POST", 200, Completed()),
        ("POST", 202, Completed()),
        ("POST", 399, Completed()),
        ("POST", 400, Rejected()),
        ("POST", 401, Rejected()),
        ("POST", 407, Rejected()),
        ("POST", 499, Rejected()),
        ("POST", 429, Retry(REFUSED, 7.0)),
        ("POST", 503, Retry(REFUSED, 7.0)),
        ("POST", 500, Failed(UPSTREAM_ERROR, Effect.UNKNOWN)),
        ("POST", 501, Failed(UPSTREAM_ERROR, Effect.UNKNOWN)),
        ("POST", 502, InDoubt(GATEWAY_LOST_IT)),
        ("POST", 504, InDoubt(GATEWAY_LOST_IT)),
        ("GET", 502, Failed(UPSTREAM_ERROR, Effect.UNKNOWN)),
        ("GET", 504, Failed(UPSTREAM_ERROR, Effect.UNKNOWN)),
    ],
)
def test_what_a_status_means(method: str, status: int, outcome: Outcome) -> None:
    assert interpret_reply(method, status, LATER, call(), 0, deferred_credentials=False) == outcome


@pytest.mark.parametrize("status", [400, 401, 403, 407])
def test_a_refusal_of_credentials_that_grew_old_here_is_no_rejection(status: int) -> None:
    expected = Failed(CREDENTIALS_EXPIRED, Effect.NONE) if status in (401, 407) else Rejected()
    assert interpret_reply("POST", status, [], call(), 0, deferred_credentials=True) == expected


@pytest.mark.parametrize(
    ("header", "status", "outcome"),
    [
        ("location", 202, Pending(after=7.0)),
        ("location", 201, Completed()),
        ("operation-location", 201, Pending(after=7.0)),
    ],
)
def test_what_is_followed_is_pending(header: str, status: int, outcome: Outcome) -> None:
    headers = [*LATER, (b"Operation-Location", b"/jobs/17")]
    followed = call(follow=FollowPolicy(header=header))
    assert interpret_reply("POST", status, headers, followed, 0, deferred_credentials=False) == outcome


@pytest.mark.parametrize(
    ("method", "status", "outcome"),
    [
        ("POST", 202, Completed()),
        ("POST", 401, Rejected()),
        ("POST", 404, Rejected(effect=Effect.UNKNOWN)),
        ("GET", 404, Rejected()),
        ("POST", 422, Rejected()),
        ("POST", 429, Rejected()),
        ("POST", 502, Failed(UPSTREAM_ERROR, Effect.UNKNOWN)),
        ("POST", 503, Failed(UPSTREAM_ERROR, Effect.UNKNOWN)),
    ],
)
def test_the_last_answer_is_neither_not_yet_nor_a_refusal(method: str, status: int, outcome: Outcome) -> None:
    assert interpret_end(method, status, LATER, call(follow=FollowPolicy())) == outcome
