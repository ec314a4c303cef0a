"""W3C trace context: what is taken from a client, and our own spans."""

from __future__ import annotations

import pytest

from strangler.domain import tracing
from strangler.domain.tracing import Span

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01".encode()
OURS = "b7ad6b7169203331"


def test_a_traceparent_is_read() -> None:
    assert tracing.parse(PARENT) == Span(TRACE, SPAN, True)
    assert str(Span(TRACE, SPAN, True)).encode() == PARENT
    assert tracing.parse(b" " + PARENT + b"\t") == Span(TRACE, SPAN, True)


@pytest.mark.parametrize(
    "text",
    [
        None,
        b"",
        PARENT + b"-",
        PARENT + b"-more",
        PARENT + b"0",
        PARENT[:-1],
        PARENT.upper(),
        PARENT.replace(b"-", b"_"),
        b"ff" + PARENT[2:],
        b"0x" + PARENT[2:],
        b"01" + PARENT[2:] + b"more",
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"00-{TRACE}-{SPAN}-0x".encode(),
        PARENT + b", " + PARENT,
        b"cc" + PARENT[2:] + b", " + PARENT,
    ],
)
def test_what_is_no_traceparent_is_none(text: bytes | None) -> None:
    assert tracing.parse(text) is None


@pytest.mark.parametrize("more", [b"", b"-", b"-what the future brings"])
def test_a_later_version_is_read_as_far_as_it_is_known_and_goes_on_as_ours(more: bytes) -> None:
    assert str(tracing.parse(b"cc" + PARENT[2:] + more)).encode() == PARENT


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)])
def test_of_the_flags_one_is_known_and_the_others_are_dropped(flags: str, sampled: bool) -> None:
    span = tracing.parse(f"00-{TRACE}-{SPAN}-{flags}".encode())
    assert span == Span(TRACE, SPAN, sampled)
    assert str(span)[-2:] == ("01" if sampled else "00")


@pytest.mark.parametrize(
    ("text", "handed_on"),
    [
        (None, None),
        (b"", None),
        (b"congo=t61rcWkgMzE", "congo=t61rcWkgMzE"),
        (b"rojo=00f067aa0ba902b7 , ,\tcongo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (b"fw529a3039@dt=FfAAAA, 4you@x=1", "fw529a3039@dt=FfAAAA,4you@x=1"),
        (b"rojo=1, rojo=2", None),
        (b"Rojo=1", None),
        (b"rojo", None),
        (b"rojo=", None),
        (b"rojo=1=2", None),
        (b"rojo=\xe4", None),
        (b"1rojo=1", None),
        (b"x@" + b"a" * 15 + b"=1", None),
        (b"r" * 257 + b"=1", None),
        (b"r=" + b"1" * 257, None),
        (b",".join(b"r%d=1" % number for number in range(33)), None),
    ],
)
def test_a_tracestate_is_handed_on_whole_or_not_at_all(text: bytes | None, handed_on: str | None) -> None:
    assert tracing.parse_state(text) == handed_on


def test_of_a_list_too_long_the_long_members_go_first_and_then_the_last() -> None:
    short = [f"s{number}={'1' * 57}" for number in range(7)]
    long = [f"l{number}={'1' * 200}" for number in range(2)]

    one_has_room = tracing.parse_state(",".join([long[0], short[0], long[1], *short[1:4]]).encode())
    assert one_has_room == ",".join([long[0], *short[:4]])

    assert tracing.parse_state(",".join(f"m{number:02}={'1' * 96}" for number in range(9)).encode()) == ",".join(
        f"m{number:02}={'1' * 96}" for number in range(5)
    )


def test_a_request_in_a_trace_gets_a_span_of_ours_there() -> None:
    span, state = tracing.begin(PARENT, b"congo=1", "f" * 32, OURS)
    assert (str(span), state) == (f"00-{TRACE}-{OURS}-01", "congo=1")


def test_a_request_without_a_trace_begins_one_and_its_state_is_nobodys() -> None:
    span, state = tracing.begin(b"nonsense", b"congo=1", "f" * 32, OURS)
    assert (str(span), state) == (f"00-{'f' * 32}-{OURS}-01", None)


def test_what_cannot_name_a_trace_still_begins_one() -> None:
    span, _ = tracing.begin(None, None, "a correlation id of a client", OURS)
    assert tracing.parse(str(span).encode()) == span
    assert tracing.begin(None, None, "0" * 32, OURS)[0].trace_id != "0" * 32


def test_what_a_process_does_has_a_span_of_its_own_in_the_same_trace() -> None:
    trace = f"00-{TRACE}-{OURS}-00"
    spans = [tracing.parse(tracing.child(trace, tracing.attempt_name(number)).encode()) for number in (1, 2)]

    assert all(span is not None and (span.trace_id, span.sampled) == (TRACE, False) for span in spans)
    assert len({OURS, *(span.span_id for span in spans if span is not None)}) == 3
    assert tracing.child(trace, "attempt-1") == tracing.child(trace, "attempt-1")
    assert tracing.child(trace, "attempt-1") == str(tracing.child_span(trace, "attempt-1"))
    assert tracing.child(trace, "attempt-1") != tracing.child(f"00-{TRACE}-{SPAN}-00", "attempt-1")


def test_there_is_no_span_in_no_trace() -> None:
    with pytest.raises(ValueError, match="no traceparent"):
        tracing.child("nonsense", "attempt-1")
