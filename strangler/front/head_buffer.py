"""Bytes of a client that are not yet a request."""

from __future__ import annotations

import re

from strangler.wire.body import ChunkedBody, LengthBody
from strangler.wire.fields import MAX_REMEMBERED
from strangler.wire.malformed import Malformed, bad
from strangler.wire.request_head import (
    FieldLines,
    RequestFields,
    RequestHead,
    find_noted,
    parse_request_line,
    request_head,
)

_BARE_LF = re.compile(rb"(?<!\r)\n")
_EMPTY_LINES = re.compile(rb"(?:\r\n)*+")


class HeadBuffer:
    """Gathers bytes until a head is whole."""

    __slots__ = ("_empty", "_fields", "_last", "_lines", "_max_head", "_position", "_searched", "held")

    def __init__(self, max_head: int) -> None:
        self._max_head = max_head
        self.held = b""  # nothing, where nothing waits to be used
        self._position = 0  # of it all before is used up
        self._searched = 0  # no end of a head begins before it
        self._empty = 0  # bytes of empty lines since the last head
        self._last: tuple[bytes, RequestHead] | None = None  # the last head, as it came and read
        self._lines: FieldLines | None = None  # the last ones
        self._fields: RequestFields | None = None  # and what they say

    def __len__(self) -> int:
        return len(self.held) - self._position

    @property
    def begun(self) -> bool:
        """Whether there is more than what may become an empty line."""
        return self.held[self._position :] not in (b"", b"\r")

    @property
    def asks_head(self) -> bool:
        """Whether the head that has begun, or was refused, is of a HEAD: what answers it has no content."""
        return self.held.startswith(b"HEAD ", self._position)

    def add(self, data: bytes) -> None:
        """Take more bytes."""
        if self.held:
            self.held = self.held[self._position :] + data
            self._searched -= self._position
            self._position = 0
        else:
            self.held = data

    def take_all(self) -> bytes:
        """All that is held; it is no request."""
        data = self.held[self._position :]
        self._use_up(len(self.held))
        return data

    def feed(self, body: LengthBody | ChunkedBody) -> bytes:
        """Give a body what is there of it; returns those bytes as they came.

        Raises:
            Malformed: its framing is broken.
        """
        start, data = self._position, self.held
        end = body.feed(data, start)
        self._use_up(end)
        return data[start:end]

    def next(self) -> RequestHead | None:
        """The next head, or None while it is incomplete. The same bytes as last time are the same head.

        Raises:
            Malformed: it is refused, and stays where it is.
        """
        data, start, last = self.held, self._position, self._last
        if last is not None and data.startswith(last[0], start):
            self._use_up(start + len(last[0]))
            self._empty = 0
            return last[1]
        if data.startswith(b"\r\n", start):  # RFC 9112 section 2.2: old clients send one after a body
            self._skip_empty_lines()
            data, start = self.held, self._position
        end = data.find(b"\r\n\r\n", self._searched)
        if end < 0:
            self._check_begin(data, start)
            self._searched = max(start, len(data) - 3)
            return None
        method, target, old, line_end = parse_request_line(data, start)
        sound: FieldLines | None = None
        try:
            block, lines, fields = data[line_end : end + 2], self._lines, self._fields
            if fields is None or lines is None or block != lines.block or old != fields.old:
                lines = FieldLines(block)
                fields = self._read_fields(lines, old=old)
            sound = lines
            if end + 4 - start > self._max_head:  # after the framing: that is judged first
                self._check_size(line_end - start, end + 4 - start)
            head = request_head(method, target, fields, lines)
        except Malformed as malformed:
            malformed.target = _path_of(target)
            malformed.headers = sound.headers() if sound is not None else ()
            raise
        if end + 4 - start <= MAX_REMEMBERED:
            self._last = data[start : end + 4], head
        self._use_up(end + 4)
        self._empty = 0
        return head

    def _read_fields(self, lines: FieldLines, *, old: bool) -> RequestFields:
        found, fields = find_noted(lines.block), self._fields
        if fields is None or found != fields.found or old != fields.old:
            fields = RequestFields(found, old=old)
        if len(lines.block) <= MAX_REMEMBERED:
            self._lines, self._fields = lines, fields
        return fields

    def _skip_empty_lines(self) -> None:
        found = _EMPTY_LINES.match(self.held, self._position)
        assert found is not None, "there may be none"
        self._empty += found.end() - self._position
        self._check_size(0, self._empty)
        self._use_up(found.end())  # here: those that come in pieces are forgotten, too

    def _use_up(self, end: int) -> None:
        if end < len(self.held):
            self._position = self._searched = end
        else:  # an idle connection keeps no bytes
            self.held, self._position, self._searched = b"", 0, 0

    def _check_begin(self, data: bytes, start: int) -> None:
        if _BARE_LF.search(data, self._searched):
            raise bad("A line of the head does not end with CR LF.")
        line_end = data.find(b"\r\n", start)
        size = len(data) - start
        self._check_size(size if line_end < 0 else line_end - start, size)

    def _check_size(self, line: int, head: int) -> None:
        if line > self._max_head:
            raise Malformed("target-too-long", "The request line is too long.")
        if head > self._max_head:
            raise Malformed("head-too-large", "The head of the request is too large.")


def _path_of(target: bytes) -> bytes | None:
    """The path that is asked for. An authority before it may hold a password, and is nobody's business."""
    if target.startswith(b"/"):
        return target
    _, slash, path = target.partition(b"://")[2].partition(b"/")
    return slash + path if slash else None
