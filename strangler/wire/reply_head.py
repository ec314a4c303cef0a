"""The head of a reply, and how its body is framed (RFC 9112 sections 4 and 6)."""

from __future__ import annotations

import re

from strangler.wire.fields import Fields, list_items, parse_fields
from strangler.wire.malformed import bad

CHUNKED = -1
UNTIL_CLOSE = -2

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([^\x00-\x08\x0a-\x1f\x7f]*+))?")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_END = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]++")
_LINE_END = re.compile(rb"\r?\n")

_NOTED = frozenset(
    {
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"www-authenticate",
    }
)


class ReplyHead:
    """What a reply's head says. ``lines``, ``headers`` and ``noted`` as in a request's head."""

    __slots__ = (
        "chunked",
        "connection",
        "content_length",
        "headers",
        "lines",
        "negotiates",
        "noted",
        "persistent",
        "reason",
        "status",
        "upgrade",
    )

    def __init__(self, status: int, reason: bytes, fields: Fields, *, old: bool) -> None:
        self.status = status
        self.reason = reason
        self.lines, self.headers, self.noted = fields
        self.connection: bytes | None = None
        self.content_length: int | None = None
        self.chunked = False
        self.persistent = not old  # the connection may be used again afterwards
        self.negotiates = False  # it asks for an authentication that belongs to the connection (RFC 4559)
        self.upgrade: bytes | None = None

    def framing(self, *, to_head: bool) -> int:
        """Length of the body in bytes, or `CHUNKED`, or `UNTIL_CLOSE`. ``to_head``: it answers a HEAD."""
        if to_head or self.status < 200 or self.status in (204, 304):
            return 0
        if self.chunked:
            return CHUNKED
        return UNTIL_CLOSE if self.content_length is None else self.content_length


def find_reply_head(data: bytes) -> tuple[ReplyHead, int] | None:
    """The head at the begin of ``data`` and where its body begins; None where more bytes are needed.

    Line ends without CR and folded lines, which old servers send, are taken and made regular (RFC 9112 sections 2.2
    and 5.2).

    Raises:
        Malformed: this is no HTTP/1.x reply, or its length can be read in two ways.
    """
    end = data.find(b"\r\n\r\n")
    if end >= 0:
        block_start = data.find(b"\r\n") + 2
        block = data[block_start : end + 2]
        # Regular only if every LF has its CR and no line is folded; anything else takes the patient way.
        if block.count(b"\n") == block.count(b"\r\n") and b"\n " not in block and b"\n\t" not in block:
            line = data[: block_start - 2]
            if b"\n" not in line:
                return _parse(line, block), end + 4
    match = _END.search(data) if b"\n\n" in data or b"\n\r\n" in data else None
    if match is None:
        if data and not (data.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(data[:7])):
            raise bad("It is not an HTTP/1.x reply.")
        return None
    lines = _LINE_END.split(_FOLD.sub(b" ", data[: match.start()]))
    return _parse(lines[0], b"".join(line + b"\r\n" for line in lines[1:])), match.end()


def _parse(line: bytes, block: bytes) -> ReplyHead:
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise bad("The status line is not well formed.")
    minor, status, reason = match.groups()
    head = ReplyHead(int(status), reason or b"", parse_fields(block, _NOTED), old=minor == b"0")
    _note(head, old=minor == b"0")
    return head


def _note(head: ReplyHead, *, old: bool) -> None:
    for index, key in head.noted:
        value = head.headers[index][1]
        if key == b"content-length":
            _note_length(head, value)
        elif key == b"connection":
            head.connection = value if head.connection is None else head.connection + b", " + value
        elif key == b"transfer-encoding":
            if head.chunked or value.lower() != b"chunked":
                raise bad("The transfer coding is not chunked, once.")
            head.chunked = True
        elif key == b"upgrade":
            head.upgrade = value.lower()
        elif key == b"www-authenticate":
            scheme = value[:9].lower()
            head.negotiates = head.negotiates or scheme == b"negotiate" or scheme[:4] == b"ntlm"
    if head.chunked and head.content_length is not None:
        raise bad("Content-Length and Transfer-Encoding exclude each other.")
    if head.connection is not None:
        options = list_items(head.connection)
        if b"close" in options:
            head.persistent = False
        elif old:
            head.persistent = b"keep-alive" in options


def _note_length(head: ReplyHead, value: bytes) -> None:
    # The same number twice says the same thing (RFC 9110 section 8.6); two numbers do not.
    if not _LENGTH.fullmatch(value) or head.content_length not in (None, int(value)):
        raise bad("Content-Length is not one number.")
    head.content_length = int(value)
