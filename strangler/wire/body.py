"""Where a message body ends (RFC 9112 section 6 and 7): incremental, strict, and without keeping what it has seen."""

from __future__ import annotations

import re
from enum import Enum, auto

from strangler.wire.fields import check_block, search
from strangler.wire.malformed import bad

MAX_EXTENSIONS = 1024
"""Bytes of chunk extensions in one body; they carry nothing, and cost memory and time (Go refuses them likewise)."""

MAX_TRAILERS = 16 * 1024
"""Bytes of a trailer section."""

_MAX_LINE = MAX_EXTENSIONS + 32
# 15 hexadecimal digits are 2**60 bytes; no white space, no sign, no "0x". Extensions hold no control character.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(;[\t\x20-\x7e\x80-\xff]*+)?\r\n")
_SIZE_BEGIN = re.compile(rb"[0-9A-Fa-f]{1,15}(?:;[\t\x20-\x7e\x80-\xff]*+)?\r?")
_NOT_IN_TRAILERS = search((b"content-length", b"transfer-encoding", b"host"))


class LengthBody:
    """A body of a known length."""

    __slots__ = ("complete", "remaining")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.complete = length == 0

    def feed(self, data: bytes, start: int = 0) -> int:
        """Take what belongs to the body from ``data[start:]``; returns where the body, or the data, ends."""
        end = min(len(data), start + self.remaining)
        self.remaining -= end - start
        self.complete = self.remaining == 0
        return end


class _Phase(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()


class ChunkedBody:
    """A body in chunks. With ``decoding`` the content is gathered in ``pieces``; else it only finds the end."""

    __slots__ = ("_extensions", "_line", "_phase", "_remaining", "complete", "decoding", "pieces", "trailers")

    def __init__(self, *, decoding: bool) -> None:
        self.decoding = decoding
        self.complete = False
        self.pieces: list[bytes] = []
        self.trailers = b""  # the field lines as they came, each with its CRLF
        self._phase = _Phase.SIZE
        self._remaining = 0
        self._line = b""  # begin of a line whose end has not come yet
        self._extensions = 0

    def feed(self, data: bytes, start: int = 0) -> int:
        """Take what belongs to the body from ``data[start:]``; returns where the body, or the data, ends.

        Raises:
            Malformed: the framing is broken, or over its limits.
        """
        position, end = start, len(data)
        while position < end and not self.complete:
            if self._phase is _Phase.DATA:
                position = self._take_data(data, position, end)
            else:
                position = self._take_line(data, position, end)
        return position

    def take(self) -> bytes:
        """The content gathered since the last call."""
        content = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        self.pieces.clear()
        return content

    def _take_data(self, data: bytes, position: int, end: int) -> int:
        stop = min(end, position + self._remaining)
        if self.decoding:
            self.pieces.append(data[position:stop])
        self._remaining -= stop - position
        if not self._remaining:
            self._phase = _Phase.DATA_END
        return stop

    def _take_line(self, data: bytes, position: int, end: int) -> int:
        newline = data.find(b"\n", position)
        stop = end if newline < 0 else newline + 1
        line = self._line + data[position:stop]
        if newline < 0:
            if len(line) > (MAX_TRAILERS if self._phase is _Phase.TRAILER else _MAX_LINE):
                raise bad("A line of the chunked body is too long.")
            if self._phase is _Phase.DATA_END and line != b"\r":
                raise bad("A chunk is longer than its size.")
            if self._phase is _Phase.SIZE and not _SIZE_BEGIN.fullmatch(line):
                raise bad("A chunk size is not well formed.")
            self._line = line
            return stop
        self._line = b""
        if self._phase is _Phase.SIZE:
            self._begin_chunk(line)
        elif self._phase is _Phase.DATA_END:
            if line != b"\r\n":
                raise bad("A chunk does not end where its size says.")
            self._phase = _Phase.SIZE
        elif line == b"\r\n":
            self._end()
        else:
            self.trailers += line
            if len(self.trailers) > MAX_TRAILERS:
                raise bad("The trailers are too large.")
        return stop

    def _begin_chunk(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise bad("A chunk size is not well formed.")
        size, extensions = match.groups()
        if extensions is not None:
            self._extensions += len(extensions)
            if self._extensions > MAX_EXTENSIONS:
                raise bad("The chunk extensions are too large.")
        self._remaining = int(size, 16)
        self._phase = _Phase.DATA if self._remaining else _Phase.TRAILER

    def _end(self) -> None:
        block = b"\r\n" + self.trailers
        check_block(block)
        if _NOT_IN_TRAILERS.search(block) is not None:
            raise bad("A trailer must not change how the message is framed or routed.")
        self.complete = True


def chunk(data: bytes) -> bytes:
    """One chunk; ``data`` must not be empty, an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: bytes = b"") -> bytes:
    """The end of a chunked body."""
    return b"0\r\n%b\r\n" % trailers
