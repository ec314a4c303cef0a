"""Frames: several messages in one write, each a tuple of plain values whose first one says what it is.

A frame is a length of four bytes and a list in the format of `marshal`, which knows nothing but plain values and makes
them at the speed of a copy. It is no defence against a hostile peer: the socket is private to this server.
"""

from __future__ import annotations

import marshal
import struct
from collections.abc import Iterator, Sequence
from typing import Any

Message = tuple[Any, ...]

_LENGTH = struct.Struct("<I")


def frame(messages: Sequence[Message]) -> bytes:
    """Messages as one frame. Whatever is like bytes comes out as bytes.

    Raises:
        ValueError: a value is none of the plain ones: None, truth, numbers, text, bytes, and tuples, lists and
            dictionaries of them.
    """
    data = marshal.dumps(list(messages))
    return _LENGTH.pack(len(data)) + data


class Frames:
    """Takes bytes as they come and gives the messages of whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """All messages that are whole with these bytes."""
        self._buffer += data
        start, end = 0, len(self._buffer)
        try:
            while end - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(self._buffer, start)
                if end - start - _LENGTH.size < length:
                    break
                start += _LENGTH.size
                messages = marshal.loads(memoryview(self._buffer)[start : start + length])  # noqa: S302
                start += length
                yield from messages
        finally:
            del self._buffer[:start]
