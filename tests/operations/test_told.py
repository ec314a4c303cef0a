"""What is logged, and what never is."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strangler.domain.delivery import Delivery, DeliveryAttempt, Tried
from strangler.domain.events import Event, OutboxRow
from strangler.domain.exchange import AttemptOutcome
from strangler.domain.process import Effect, PublicState, State
from strangler.domain.steps import Accept, Claim, Doubt
from strangler.domain.tracing import child
from strangler.domain.transitions import Change, apply
from strangler.engine.instrument import AccessLog
from strangler.operations.logs import Bridge
from strangler.operations.telemetry import Telemetry
from tests.operations.samples import PROCESS_ID, STARTED_AT, Heard, a_process, a_request, an_attempt


def test_a_request_is_one_wide_line() -> None:
    heard = Heard()
    with heard as telemetry:
        telemetry.answered(
            a_request(b"/claims/7?token=hunter2"),
            "submit-claim",
            202,
            0.0123,
            decision="async",
            process=a_process(caller_name="broker-a"),
            sent=512,
        )
    [line] = heard.lines
    assert line.pop("at")
    assert line == {
        "level": "info",
        "event": "request",
        "route": "submit-claim",
        "method": "POST",
        "path": "/claims/7",
        "status": 202,
        "ms": 12.3,
        "bytes": 512,
        "decision": "async",
        "correlationId": "c0ffee",
        "process": PROCESS_ID,
        "caller": "broker-a",
        "address": "192.0.2.7",
    }


def test_a_request_that_passed_through_has_no_fields_that_it_has_no_value_for() -> None:
    heard = Heard()
    with heard as telemetry:
        telemetry.answered(a_request(headers=[(b"X-Correlation-ID", b"beef")]), "default", 200, 0.001)
    [line] = heard.lines
    assert set(line) == {"at", "level", "event", "route", "method", "path", "status", "ms", "correlationId", "address"}
    assert line["correlationId"] == "beef"


def test_a_request_that_was_refused_is_found_by_what_its_client_was_told() -> None:
    heard = Heard()
    with heard as telemetry:
        request = a_request(headers=[(b"X-Request-ID", b"beef")])
        telemetry.answered(request, "submit-claim", 422, 0.001, decision="async", code="idempotency-key-reused")
    [line] = heard.lines
    assert (line["status"], line["code"], line["correlationId"]) == (422, "idempotency-key-reused", "beef")


def test_an_attempt_is_one_wide_line() -> None:
    heard = Heard()
    with heard as telemetry:
        telemetry.attempt_ended(
            a_process(state=State.COMPLETED, effect=Effect.APPLIED, caller_name="broker-a"), an_attempt()
        )
    [line] = heard.lines
    assert line.pop("at")
    assert line == {
        "level": "info",
        "event": "attempt",
        "route": "submit-claim",
        "process": PROCESS_ID,
        "correlationId": "c0ffee",
        "caller": "broker-a",
        "attempt": 1,
        "outcome": "completed",
        "status": 200,
        "ms": 1500.0,
        "state": "completed",
        "effect": "applied",
    }


@pytest.mark.parametrize(
    ("access_log", "events"),
    [
        ("all", ["request", "attempt", "attempt"]),
        ("recorded", ["request", "attempt", "attempt"]),
        ("none", ["attempt"]),
    ],
)
def test_without_an_access_log_only_attempts_that_broke_off_are_told(access_log: AccessLog, events: list[str]) -> None:
    heard = Heard(access_log=access_log)
    with heard as telemetry:
        assert telemetry.access_log == access_log
        telemetry.answered(a_request(), "submit-claim", 202, 0.01)
        telemetry.attempt_ended(a_process(), an_attempt())
        telemetry.attempt_ended(a_process(), an_attempt(AttemptOutcome.INTERRUPTED, detail="timeout after 60 s"))
    assert [line["event"] for line in heard.lines] == events
    assert (heard.lines[-1]["level"], heard.lines[-1]["detail"]) == ("warning", "timeout after 60 s")


def test_a_process_that_needs_a_person_is_a_warning_once() -> None:
    claimed = apply(None, Accept(a_process()), STARTED_AT).then(Claim("owner"), STARTED_AT)
    heard = Heard(level="info")
    with heard as telemetry:
        telemetry.changed(claimed)
        telemetry.changed(apply(claimed.process, Doubt("cut", settling=False), STARTED_AT))
    [line] = heard.lines
    assert (line["level"], line["event"], line["from"]) == ("warning", "in_doubt", "processing")


def test_an_end_without_an_attempt_is_told_and_every_other_change_only_for_debugging() -> None:
    before = a_process()
    heard, quiet = Heard(level="debug"), Heard(level="info")
    for each in (heard, quiet):
        with each as telemetry:
            telemetry.changed(Change(None, before, (), ()))
            telemetry.changed(Change(before, a_process(state=State.EXPIRED), (), ()))
            telemetry.changed(Change(before, a_process(state=State.CANCELLED), (), ()))
    assert [(line["event"], line["state"]) for line in quiet.lines] == [("ended", "expired"), ("ended", "cancelled")]
    assert [(line["event"], line["state"]) for line in heard.lines] == [
        ("changed", "received"),
        ("ended", "expired"),
        ("ended", "cancelled"),
    ]


def test_a_store_that_goes_on_refusing_is_told_once_and_again_when_it_is_over() -> None:
    heard = Heard()
    with heard as telemetry:
        for reason in ("full", "full", "failing", None, None):
            telemetry.store_refuses(reason)
    assert [(line["event"], line.get("detail")) for line in heard.lines] == [
        ("store_refuses", "full"),
        ("store_refuses", "failing"),
        ("store_takes_work", None),
    ]


def test_policies_notes_late_replies_and_defects_are_told() -> None:
    heard = Heard()
    with heard as telemetry:
        telemetry.policy_loaded("beef", 3)
        telemetry.policy_refused("routes.yaml:3:5: unknown key\nroutes.yaml:4:1: another")
        telemetry.note("recovered", "warning", processes=4)
        telemetry.late_reply(a_process(state=State.FAILED), settled=False)
        telemetry.failed("executor", RuntimeError("hunter2"))
    told = [(line["level"], line["event"]) for line in heard.lines]
    assert told == [
        ("info", "policy_loaded"),
        ("error", "policy_refused"),
        ("warning", "recovered"),
        ("warning", "late_reply"),
        ("error", "defect"),
    ]
    assert heard.lines[1]["detail"] == "routes.yaml:3:5: unknown key\nroutes.yaml:4:1: another"
    assert heard.lines[2]["processes"] == 4
    assert heard.lines[3]["settled"] is False
    assert (heard.lines[4]["place"], heard.lines[4]["error"]) == ("executor", "RuntimeError (its text is withheld)")


# ── What never is ────────────────────────────────────────────────────────────────────────────────────────────────────

MARK = "qzxqzx"
"""What no line of ours holds by chance."""

secrets = st.text(max_size=30).map(lambda odd: f"{MARK}{odd}{MARK}")


def tell_all(telemetry: Telemetry, secret: str) -> None:
    """Call every method with a secret in each place where a client's data may stand."""
    raw = secret.encode("utf-8", "surrogatepass")
    request = a_request(b"/claims?" + raw, headers=((b"Authorization", raw), (b"Cookie", raw), (raw, b"x")))
    hidden = {"key": secret, "key_lookup": secret, "key_scope": secret, "caller": secret, "reason": secret}
    process = a_process(**hidden, result_type=secret, base=secret, owner=secret)
    doubted = process._replace(state=State.IN_DOUBT, status=secret)
    event = Event(PROCESS_ID, 1, 1, STARTED_AT, secret, raw)
    outbox = OutboxRow("", "process", PROCESS_ID, "", secret, STARTED_AT)
    telemetry.accepted(process, 0.1)
    telemetry.replayed(process)
    telemetry.refused("submit-claim", secret)
    telemetry.would_refuse("submit-claim", "invalid-request", secret)
    telemetry.answered(request, "submit-claim", 202, 0.1, process=process)
    telemetry.changed(Change(None, process, (event,), (outbox,)))
    telemetry.changed(Change(process, doubted, (event,), (outbox,)))
    telemetry.changed(Change(doubted, process._replace(state=State.CANCELLED), (event,), (outbox,)))
    telemetry.attempt_ended(process, an_attempt(owner=secret))
    telemetry.late_reply(process, settled=True)
    telemetry.polled("submit-claim", secret)
    telemetry.note("swept", body=[secret], request=request)
    error = ExceptionGroup(secret, [ValueError(secret), KeyError(secret)])
    error.__context__ = RuntimeError(secret)
    error.add_note(secret)
    telemetry.failed("executor", error)
    logging.getLogger("aiohttp.server").error("Error handling %r", secret, exc_info=error)


@settings(max_examples=50)
@given(secrets)
def test_no_header_body_query_key_or_secret_is_ever_told(secret: str) -> None:
    for form in ("json", "text"):
        heard = Heard(form)
        bridge = Bridge(heard.logs)
        bridge.install()
        with heard as telemetry:
            tell_all(telemetry, secret)
        bridge.remove()
        assert "would_refuse" in heard.text
        assert "Error handling" in heard.text
        assert MARK not in heard.text
        telemetry.counts.read()
        assert MARK.encode() not in telemetry.exposition.render()


@settings(max_examples=50)
@given(st.binary(max_size=40), st.text(max_size=40))
def test_what_is_told_of_a_client_cannot_forge_a_line(path: bytes, label: str) -> None:
    for form in ("json", "text"):
        heard = Heard(form)
        process = a_process(correlation_id=label, caller_name=label)
        with heard as telemetry:
            telemetry.answered(a_request(b"/" + path), "submit-claim", 200, 0.1, process=process)
            telemetry.attempt_ended(process, an_attempt(detail=label))
        assert len(heard.text.splitlines()) == 2
        assert all(line.isprintable() for line in heard.text.split("\n"))
        if form == "json":
            assert [line["event"] for line in heard.lines] == ["request", "attempt"]
            assert heard.lines[0]["caller"] == label


TRACE, OURS, THEIRS = "4bf92f3577b34da6a3ce929d0e0e4736", "b7ad6b7169203331", "00f067aa0ba902b7"


def test_a_line_of_a_process_bears_its_trace_and_the_span_of_its_acceptance() -> None:
    process = a_process(trace=f"00-{TRACE}-{OURS}-01", state=State.EXPIRED)
    heard = Heard()
    with heard as telemetry:
        telemetry.late_reply(process, settled=True)
    [line] = heard.lines
    assert (line["traceId"], line["spanId"]) == (TRACE, OURS)


def test_an_attempt_bears_the_span_under_which_it_called() -> None:
    trace = f"00-{TRACE}-{OURS}-01"
    heard = Heard()
    with heard as telemetry:
        telemetry.attempt_ended(a_process(trace=trace), an_attempt(number=2))
    [line] = heard.lines
    sent = child(trace, "attempt-2")
    assert sent == f"00-{TRACE}-{line['spanId']}-01"
    assert (line["traceId"], line["parentSpanId"]) == (TRACE, OURS)


@pytest.mark.parametrize(
    ("traceparent", "trace", "told"),
    [
        (None, None, {}),
        (f"00-{TRACE}-{THEIRS}-01", None, {"traceId": TRACE, "parentSpanId": THEIRS}),
        (
            f"00-{TRACE}-{THEIRS}-01",
            f"00-{TRACE}-{OURS}-01",
            {"traceId": TRACE, "spanId": OURS, "parentSpanId": THEIRS},
        ),
        (None, f"00-{TRACE}-{OURS}-01", {"traceId": TRACE, "spanId": OURS}),
        # The repeat of a request that was accepted within another trace.
        (f"00-{TRACE}-{THEIRS}-01", f"00-{'f' * 32}-{OURS}-01", {"traceId": TRACE, "parentSpanId": THEIRS}),
    ],
)
def test_a_request_bears_the_trace_that_it_came_in(
    traceparent: str | None, trace: str | None, told: dict[str, str]
) -> None:
    headers = ((b"traceparent", traceparent.encode()),) if traceparent is not None else ()
    process = a_process(trace=trace) if trace is not None else None
    heard = Heard()
    with heard as telemetry:
        telemetry.answered(a_request(headers=headers), "submit-claim", 202, 0.1, process=process)
    [line] = heard.lines
    assert {name: value for name, value in line.items() if name in ("traceId", "spanId", "parentSpanId")} == told


def test_a_callback_bears_the_span_under_which_it_was_sent() -> None:
    delivery = Delivery(PROCESS_ID, 3, 0, "broker-a", None, PublicState.COMPLETED, STARTED_AT)
    line = DeliveryAttempt(PROCESS_ID, 3, 0, 1, STARTED_AT, 7, Tried.DELIVERED, status=200)
    heard = Heard()
    with heard as telemetry:
        telemetry.delivery_tried(delivery, line, 0.1, f"00-{TRACE}-{OURS}-01")
    [told] = heard.lines
    assert (told["event"], told["traceId"], told["spanId"]) == ("delivery", TRACE, OURS)
