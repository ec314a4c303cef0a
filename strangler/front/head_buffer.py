"""Bytes of a client that are not yet a request."""

from __future__ import annotations

import re

from strangler.wire.body import ChunkedBody, LengthBody
from strangler.wire.malformed import Malformed, bad
from strangler.wire.request_head import RequestFields, RequestHead, parse_request_line, request_head

MAX_REMEMBERED = 2048
"""Bytes of a block of fields that is remembered: programs send the same one with every request of a connection."""

_BARE_LF = re.compile(rb"(?<!\r)\n")


class HeadBuffer:
    """Gathers bytes until a head is whole. Truthy while bytes are held."""

    __slots__ = ("_data", "_fields", "_max_head", "_position", "_searched")

    def __init__(self, max_head: int) -> None:
        self._max_head = max_head
        self._data = b""
        self._position = 0  # all before it is used up
        self._searched = 0  # no head ends before it
        self._fields: RequestFields | None = None  # the last ones

    def __bool__(self) -> bool:
        return self._position < len(self._data)

    def __len__(self) -> int:
        return len(self._data) - self._position

    def add(self, data: bytes) -> None:
        """Take more bytes."""
        if self._position < len(self._data):
            self._data = self._data[self._position :] + data
            self._searched = max(0, self._searched - self._position)
        else:
            self._data = data
            self._searched = 0
        self._position = 0

    def take_all(self) -> bytes:
        """All that is held; it is no request."""
        data = self._data[self._position :]
        self._use_up(len(self._data))
        return data

    def feed(self, body: LengthBody | ChunkedBody) -> bytes:
        """Give a body what is there of it; returns those bytes as they came.

        Raises:
            Malformed: its framing is broken.
        """
        start, data = self._position, self._data
        end = body.feed(data, start)
        self._use_up(end)
        return data[start:end]

    def next(self) -> RequestHead | None:
        """The next head, or None while it is incomplete.

        Raises:
            Malformed: it is refused.
        """
        data, start = self._data, self._position
        if data.startswith(b"\r\n", start):  # RFC 9112 section 2.2: old clients send one after a body
            start += 2
            if start == len(data):
                self._use_up(start)
                return None
        end = data.find(b"\r\n\r\n", max(start, self._searched - 3))
        if end < 0:
            self._check_begin(data, start)
            self._searched = len(data)
            return None
        self._use_up(end + 4)
        method, target, old, block = parse_request_line(data, start)
        try:
            fields = self._read_fields(data[block - 2 : end + 2], old=old)
            if end + 4 - start > self._max_head:  # after the framing: that is judged first
                self._check_size(block - 2 - start, end + 4 - start)
            return request_head(method, target, fields)
        except Malformed as malformed:
            malformed.target = target
            raise

    def _read_fields(self, block: bytes, *, old: bool) -> RequestFields:
        fields = self._fields
        if fields is None or block != fields.block or old != fields.old:
            fields = RequestFields(block, old=old)
            if len(block) <= MAX_REMEMBERED:
                self._fields = fields
        return fields

    def _use_up(self, end: int) -> None:
        if end < len(self._data):
            self._position = self._searched = end
        else:  # an idle connection keeps no bytes
            self._data, self._position, self._searched = b"", 0, 0

    def _check_begin(self, data: bytes, start: int) -> None:
        if _BARE_LF.search(data, max(start, self._searched)):
            raise bad("A line of the head does not end with CR LF.")
        line_end = data.find(b"\r\n", start)
        size = len(data) - start
        self._check_size(size if line_end < 0 else line_end - start, size)

    def _check_size(self, line: int, head: int) -> None:
        if line > self._max_head:
            raise Malformed("target-too-long", "The request line is too long.")
        if head > self._max_head:
            raise Malformed("head-too-large", "The head of the request is too large.")
