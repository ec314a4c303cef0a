"""The head of a reply, and how its body is framed (RFC 9112 sections 4 and 6).

Most of a reply's fields are nobody's business: the block is checked as a whole, and only the lines that frame the reply
or are for one connection are looked at.
"""

from __future__ import annotations

import re

from strangler.domain.exchange import Header
from strangler.wire.fields import TOKEN, list_items, parse_fields
from strangler.wire.malformed import bad

CHUNKED = -1
UNTIL_CLOSE = -2

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([^\x00-\x08\x0a-\x1f\x7f]*+))?")
_BLOCK = re.compile(rb"\r\n(?:" + TOKEN + rb"++:[^\x00-\x08\x0a-\x1f\x7f]*+\r\n)*+")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_END = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]++")
_LINE_END = re.compile(rb"\r?\n")

_NOTED = tuple(
    (b"\r\n" + name + b":", name)
    for name in (
        b"content-length",
        b"connection",
        b"transfer-encoding",
        b"keep-alive",
        b"upgrade",
        b"www-authenticate",
        b"proxy-authenticate",
        b"proxy-connection",
        b"te",
    )
)


Noted = tuple[int, int, bytes, bytes]
"""A line of the block that a proxy has to look at: where the CRLF before it begins, where the CRLF after it begins, its
lower-case name, its value."""


class ReplyHead:
    """What a reply's head says. ``block`` is a CRLF and all field lines, each with its CRLF, as they came."""

    __slots__ = (
        "block",
        "chunked",
        "connection",
        "content_length",
        "negotiates",
        "noted",
        "persistent",
        "reason",
        "status",
        "upgrade",
    )

    def __init__(self, status: int, reason: bytes, block: bytes, *, old: bool) -> None:
        self.status = status
        self.reason = reason
        self.block = block
        self.noted: list[Noted] = []
        self.connection: bytes | None = None
        self.content_length: int | None = None
        self.chunked = False
        self.persistent = not old  # the connection may be used again afterwards
        self.negotiates = False  # it asks for an authentication that belongs to the connection (RFC 4559)
        self.upgrade: bytes | None = None
        lowered = block.lower()
        for needle, name in _NOTED:
            start = lowered.find(needle)
            while start >= 0:
                stop = block.find(b"\r\n", start + 2)
                value = block[start + len(needle) : stop].strip(b" \t")
                self.noted.append((start, stop, name, value))
                self._note(name, value)
                start = lowered.find(needle, stop)
        self._settle(old=old)

    @property
    def headers(self) -> list[Header]:
        """All fields as (name, value)."""
        return parse_fields(self.block[2:]).headers

    def framing(self, *, to_head: bool) -> int:
        """Length of the body in bytes, or `CHUNKED`, or `UNTIL_CLOSE`. ``to_head``: it answers a HEAD."""
        if to_head or self.status < 200 or self.status in (204, 304):
            return 0
        if self.chunked:
            return CHUNKED
        return UNTIL_CLOSE if self.content_length is None else self.content_length

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            # The same number twice says the same thing (RFC 9110 section 8.6); two numbers do not.
            if not _LENGTH.fullmatch(value) or self.content_length not in (None, int(value)):
                raise bad("Content-Length is not one number.")
            self.content_length = int(value)
        elif name == b"connection":
            self.connection = value if self.connection is None else self.connection + b", " + value
        elif name == b"transfer-encoding":
            if self.chunked or value.lower() != b"chunked":
                raise bad("The transfer coding is not chunked, once.")
            self.chunked = True
        elif name == b"upgrade":
            self.upgrade = value.lower()
        elif name == b"www-authenticate":
            scheme = value[:9].lower()
            self.negotiates = self.negotiates or scheme == b"negotiate" or scheme[:4] == b"ntlm"

    def _settle(self, *, old: bool) -> None:
        if self.chunked and self.content_length is not None:
            raise bad("Content-Length and Transfer-Encoding exclude each other.")
        if self.connection is None:
            return
        options = list_items(self.connection)
        if b"close" in options:
            self.persistent = False
        elif old:
            self.persistent = b"keep-alive" in options


def find_reply_head(data: bytes) -> tuple[ReplyHead, int] | None:
    """The head at the begin of ``data`` and where its body begins; None where more bytes are needed.

    Line ends without CR and folded lines, which old servers send, are taken and made regular (RFC 9112 sections 2.2
    and 5.2).

    Raises:
        Malformed: this is no HTTP/1.x reply, or its length can be read in two ways.
    """
    end = data.find(b"\r\n\r\n")
    if end >= 0:
        line_end = data.find(b"\r\n")
        line, block = data[:line_end], data[line_end : end + 2]
        if b"\n" not in line and _BLOCK.fullmatch(block):
            return _reply_head(line, block), end + 4
    match = _END.search(data) if b"\n\n" in data or b"\n\r\n" in data else None
    if match is None:
        if data and not (data.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(data[:7])):
            raise bad("It is not an HTTP/1.x reply.")
        return None
    lines = _LINE_END.split(_FOLD.sub(b" ", data[: match.start()]))
    block = b"\r\n" + b"".join(line + b"\r\n" for line in lines[1:])
    if not _BLOCK.fullmatch(block):
        raise bad("A header line is not well formed.")
    return _reply_head(lines[0], block), match.end()


def _reply_head(line: bytes, block: bytes) -> ReplyHead:
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise bad("The status line is not well formed.")
    minor, status, reason = match.groups()
    return ReplyHead(int(status), reason or b"", block, old=minor == b"0")
