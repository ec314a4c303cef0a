"""An answer of ours, or a recorded reply, as bytes for a client."""

from __future__ import annotations

from http import HTTPStatus
from operator import itemgetter
from typing import NamedTuple

from strangler.domain.exchange import Answer, Header, Upgrade
from strangler.domain.problem import problem
from strangler.front.client_head import CLOSE, KEEP_ALIVE
from strangler.wire.fields import HOP_BY_HOP
from strangler.wire.malformed import Malformed
from strangler.wire.request_head import ALLOWED

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# Names of ours that say nothing of framing, of the connection or of the date: most lines are settled by this look-up.
_PLAIN = frozenset(
    name.encode()
    for name in (
        *("Cache-Control", "Content-Type", "ETag", "Link", "Location", "Retry-After", "Vary"),
        *("Strangler-Process", "Strangler-Source", "Strangler-Status", "Strangler-Effect"),
        *("Preference-Applied", "X-Correlation-ID"),
    )
)
_NAME = itemgetter(0)
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}


class Response(NamedTuple):
    """The head of a response and how its body has to be written."""

    head: bytes
    chunked: bool
    bodiless: bool  # nothing follows, whatever the answer's body is
    keep: bool  # the connection can stay open afterwards


def respond(answer: Answer, *, to_head: bool, old: bool, keep: bool, date: bytes) -> Response:
    """Frame an answer. ``to_head``: its request is a HEAD; ``old``: the client speaks HTTP/1.0; ``keep``: its
    connection may stay open."""
    status = answer.status
    length = len(answer.body) if isinstance(answer.body, bytes) else answer.length
    lengthless = status < 200 or status == 204  # RFC 9110 section 8.6: not even one that is 0
    lines, has_length, has_date = _lines(answer.headers, None if to_head or status == 304 else length, lengthless)
    chunked = False
    bodiless = to_head or lengthless or status == 304
    if lengthless or status == 304 or has_length or (to_head and answer.as_it_came):
        pass  # a reply to a HEAD that came without a length does not say how long the body of a GET is
    elif length is not None:
        lines.append(b"Content-Length: %d" % length)
    elif to_head:
        pass
    elif old:
        keep = False  # the end of the connection is the end of the body
    else:
        chunked = True
        lines.append(b"Transfer-Encoding: chunked")
    if not has_date and not answer.as_it_came:
        lines.append(b"Date: " + date)
    if not keep:
        lines.append(CLOSE)
    elif old:
        lines.append(KEEP_ALIVE)
    start = b"HTTP/1.1 %d %b" % (status, answer.reason or _PHRASES.get(status, b""))
    return Response(b"\r\n".join((start, *lines, b"", b"")), chunked, bodiless, keep)


def refusal(malformed: Malformed) -> Answer:
    """The answer to what cannot be taken for a request."""
    headers = [(b"Allow", ALLOWED)] if malformed.code == "method-not-allowed" else []
    retry_after = 1 if malformed.code == "overloaded" else None
    return problem(malformed.code, malformed.detail, headers=headers, retry_after=retry_after)


def switching_protocols(upgrade: Upgrade) -> bytes:
    """The 101 after which the connection speaks another protocol."""
    lines = [b"%b: %b\r\n" % header for header in upgrade.headers if header[0].lower() not in HOP_BY_HOP]
    lines += [b"Connection: Upgrade\r\n", b"Upgrade: %b\r\n" % upgrade.protocol]
    return b"HTTP/1.1 101 Switching Protocols\r\n" + b"".join(lines) + b"\r\n"


def _lines(headers: list[Header], length: int | None, lengthless: bool) -> tuple[list[bytes], bool, bool]:
    """The field lines without hop-by-hop ones and wrong lengths, and whether they hold a length and a date.

    ``length``: what a Content-Length must say; None: it is taken as it is. ``lengthless``: there must be none.
    """
    if _PLAIN.issuperset(map(_NAME, headers)):  # as are all of an answer of ours, but for what a policy adds
        return list(map(b": ".join, headers)), False, False
    lines: list[bytes] = []
    has_length = has_date = False
    for name, value in headers:
        if name in _PLAIN:
            lines.append(b"%b: %b" % (name, value))
            continue
        key = name.lower()
        if key in HOP_BY_HOP:
            continue
        if key == b"content-length":
            if lengthless or has_length or (length is not None and value != b"%d" % length):
                continue
            has_length = True
        elif key == b"date":
            has_date = True
        lines.append(b"%b: %b" % (name, value))
    return lines, has_length, has_date
