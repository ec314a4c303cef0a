"""W3C Trace Context, level 1: what a request says of its trace, and our spans within it.

Our hops are spans: the acceptance of a process, each attempt to call upstream, each callback. The one of the acceptance
is kept with the process; those of its children are made from it by name, so that nothing more has to be kept, and the
log can name a span wherever the process is known.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_OURS = re.compile(r"(00-[0-9a-f]{32}-)([0-9a-f]{16})(-0[01])")
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_SAMPLED = 0x01

_KEY = re.compile(r"[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}")
_VALUE = re.compile(r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_MOST_MEMBERS = 32
_MOST_CHARACTERS = 512
_LONG = 128  # characters of a member that goes first where room is short


class Span(NamedTuple):
    """One span of a trace."""

    trace_id: str  # 32 hexadecimal digits, small
    span_id: str  # 16
    sampled: bool

    def __str__(self) -> str:
        """As ``traceparent``."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def parse(traceparent: bytes | None) -> Span | None:
    """The span of whoever sent a request; None: it says none, or nothing that can be trusted (section 3.2.2).

    A version after 00 is read as far as 00 goes (section 4.3). Flags that are not known are dropped.
    """
    found = _PARENT.fullmatch(traceparent.strip(b" \t")) if traceparent is not None else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    span = Span(trace_id.decode(), span_id.decode(), bool(int(flags, 16) & _SAMPLED))
    return None if span.trace_id == _NO_TRACE or span.span_id == _NO_SPAN else span


def parse_state(tracestate: bytes | None) -> str | None:
    """The list that came beside a ``traceparent``, to be handed on; None: there is none, or one that is not well
    formed, which counts whole or not at all (section 3.3.1). Cut to 512 characters where it is longer."""
    if tracestate is None:
        return None
    parts = [part.strip(" \t") for part in tracestate.decode("latin-1").split(",")]
    members = [part for part in parts if part]
    keys = set()
    for member in members:
        key, _, value = member.partition("=")
        if _KEY.fullmatch(key) is None or _VALUE.fullmatch(value) is None or key in keys:
            return None
        keys.add(key)
    if not members or len(members) > _MOST_MEMBERS:
        return None
    return ",".join(_cut(members)) or None


def begin(traceparent: bytes | None, tracestate: bytes | None, trace_id: str, span_id: str) -> tuple[Span, str | None]:
    """Our span of a request, and the list to hand on: in its client's trace, or as the first of a new one.

    Args:
        trace_id: of a new trace; it is only one if it is 32 small hexadecimal digits, and another is made of it if not.
        span_id: ours, 16 fresh random hexadecimal digits.
    """
    parent = parse(traceparent)
    if parent is not None:
        return parent._replace(span_id=span_id), parse_state(tracestate)
    if _TRACE_ID.fullmatch(trace_id) is None or trace_id == _NO_TRACE:
        trace_id = _digits(f"{trace_id}\n{span_id}", 16)
    # Everything of ours is in the log, so what others record of it is not in vain.
    return Span(trace_id, span_id, True), None


def child(trace: str, name: str) -> str:
    """The ``traceparent`` of something that a process does: the same trace, and a span of its own.

    The same name gives the same span, so that whoever sends and whoever logs need not tell each other.

    Args:
        trace: `Process.trace`.
        name: of what is done, once for each time that it is done: "attempt-2".

    Raises:
        ValueError: ``trace`` is no ``traceparent`` of ours.
    """
    # As `child_span` has it, without taking apart and putting together what stays: every call upstream asks for it.
    found = _OURS.fullmatch(trace)
    if found is None:
        raise ValueError("this is no traceparent of ours")
    return f"{found[1]}{_child_digits(found[2], name)}{found[3]}"


def child_span(trace: str, name: str) -> Span:
    """The span whose ``traceparent`` is that of `child`.

    Raises:
        ValueError: ``trace`` is no ``traceparent`` of ours.
    """
    parent = parse(trace.encode())
    if parent is None:
        raise ValueError("this is no traceparent")
    return parent._replace(span_id=_child_digits(parent.span_id, name))


def attempt_name(number: int) -> str:
    """Under what name the spans of the attempts to call upstream go."""
    return f"attempt-{number}"


def _child_digits(parent: str, name: str) -> str:
    return _digits(f"{parent}\n{name}", 8)


def _digits(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def _cut(members: list[str]) -> list[str]:
    """What of a list fits: long members go first, then the last ones (section 3.3.1.5)."""
    members = [*members]
    for index in reversed(range(len(members))):
        if _length(members) > _MOST_CHARACTERS and len(members[index]) > _LONG:
            del members[index]
    while _length(members) > _MOST_CHARACTERS:
        members.pop()
    return members


def _length(members: list[str]) -> int:
    return sum(len(member) + 1 for member in members) - 1
