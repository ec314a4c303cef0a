"""The head of a reply, and how its body is framed (RFC 9112 sections 4 and 6).

Most of a reply's fields are nobody's business: the block is checked as a whole, and only the lines that frame the reply
or are for one connection are looked at.
"""

from __future__ import annotations

import re

from strangler.domain.exchange import Header
from strangler.wire.fields import BLOCK, VALUE, cut, list_items, nominated, parse_block, search, without
from strangler.wire.malformed import bad

CHUNKED = -1
UNTIL_CLOSE = -2

_STATUS_LINE = rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: (" + VALUE + rb"*+))?"
_HEAD = re.compile(_STATUS_LINE + rb"(" + BLOCK + rb")\r\n")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_END = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]++")
_LINE_END = re.compile(rb"\r?\n")

_NOTED = search(
    (
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"www-authenticate",
    )
)
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_CODING = frozenset({b"transfer-encoding"})


class ReplyHead:
    """What a reply's head says. ``block`` is a CRLF and all field lines, each with its CRLF, as they came; of them
    ``hop`` are those for this connection only, each with the CRLF before it."""

    __slots__ = (
        "_end_to_end",
        "block",
        "chunked",
        "connection",
        "content_length",
        "hop",
        "negotiates",
        "persistent",
        "reason",
        "status",
        "upgrade",
    )

    def __init__(self, status: int, reason: bytes, block: bytes, *, old: bool) -> None:
        self.status = status
        self.reason = reason
        self.block = block
        self._end_to_end: bytes | None = None
        self.connection: bytes | None = None
        self.content_length: int | None = None
        self.chunked = False
        self.persistent = not old  # the connection may be used again afterwards
        self.negotiates = False  # it asks for an authentication that belongs to the connection (RFC 4559)
        self.upgrade: bytes | None = None
        self.hop: list[bytes] = []
        for line, spelled, value in _NOTED.findall(block):
            name, value = spelled.lower(), value.rstrip(b" \t")
            if name == b"content-length":
                # The same number twice says the same thing (RFC 9110 section 8.6); two numbers do not.
                if not _LENGTH.fullmatch(value) or self.content_length not in (None, int(value)):
                    raise bad("Content-Length is not one number.")
                self.content_length = int(value)
            elif name == b"transfer-encoding":
                if self.chunked or value.lower() != b"chunked":
                    raise bad("The transfer coding is not chunked, once.")
                self.chunked = True
            elif name == b"www-authenticate":
                scheme = value[:9].lower()
                self.negotiates = self.negotiates or scheme == b"negotiate" or scheme[:4] == b"ntlm"
            else:
                self.hop.append(line)
                if name == b"connection":
                    self.connection = value if self.connection is None else self.connection + b", " + value
                elif name == b"upgrade":
                    self.upgrade = value.lower()
        if self.chunked and self.content_length is not None:
            raise bad("Content-Length and Transfer-Encoding exclude each other.")
        if self.connection is not None and (old or self.connection.lower() != b"keep-alive"):
            self._settle_connection(self.connection, old=old)

    @property
    def headers(self) -> list[Header]:
        """All fields as (name, value)."""
        return parse_block(self.block)

    def end_to_end(self, *, chunked: bool) -> bytes:
        """The block without the lines for this connection only. ``chunked``: chunks may go on."""
        if chunked and self._end_to_end is not None:
            return self._end_to_end
        block = self.block
        # RFC 9112 section 6.1 and RFC 9110 section 8.6: these have no length, and one that is not 0 would mislead.
        lengthless = self.status == 204 or self.status < 200
        if lengthless or (self.chunked and not chunked):
            block = without(block, _FRAMING if lengthless else _CODING)
        if self.hop:
            block = cut(block, self.hop)
            if self.connection is not None and self.connection.lower() not in (b"keep-alive", b"close"):
                block = without(block, nominated(self.connection))
        if chunked:  # as nearly all ask; and one head may begin many replies
            self._end_to_end = block
        return block

    def framing(self, *, to_head: bool) -> int:
        """Length of the body in bytes, or `CHUNKED`, or `UNTIL_CLOSE`. ``to_head``: it answers a HEAD."""
        if to_head or self.status < 200 or self.status in (204, 304):
            return 0
        if self.chunked:
            return CHUNKED
        return UNTIL_CLOSE if self.content_length is None else self.content_length

    def _settle_connection(self, connection: bytes, *, old: bool) -> None:
        options = list_items(connection)
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
    found = _HEAD.match(data) if data.find(b"\r\n\r\n") > 0 else None
    if found is not None:
        end = found.end()
    else:
        last = _END.search(data) if b"\n\n" in data or b"\n\r\n" in data else None
        if last is None:
            if data and not (data.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(data[:7])):
                raise bad("It is not an HTTP/1.x reply.")
            return None
        end = last.end()
        found = _HEAD.fullmatch(_regular(data[: last.start()]))
        if found is None:
            raise bad("The status line or a header line is not well formed.")
    minor, status, reason, block = found.groups()
    return ReplyHead(int(status), reason or b"", block, old=minor == b"0"), end


def _regular(head: bytes) -> bytes:
    return b"\r\n".join((*_LINE_END.split(_FOLD.sub(b" ", head)), b"", b""))
