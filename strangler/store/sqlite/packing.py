"""Header lists and credentials as one value of a row, octet for octet."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

from strangler.domain.exchange import Header, Headers
from strangler.store.sealing import Sealer


def pack(parts: Sequence[bytes]) -> bytes:
    """Byte strings as one: their count, their lengths, and themselves; any octet may be in them."""
    return _lengths(len(parts)).pack(len(parts), *map(len, parts)) + b"".join(parts)


@lru_cache(maxsize=256)
def _lengths(count: int) -> struct.Struct:
    """A count and so many lengths."""
    return struct.Struct(f"<{count + 1}I")


def unpack(data: bytes) -> list[bytes]:
    """The byte strings that were packed."""
    (count,) = struct.unpack_from("<I", data)
    lengths = struct.unpack_from(f"<{count}I", data, 4)
    parts, start = [], 4 * (count + 1)
    for length in lengths:
        parts.append(data[start : start + length])
        start += length
    return parts


def pack_headers(headers: Headers) -> bytearray:
    """A header list, octet for octet."""
    return bytearray(pack(list(chain.from_iterable(headers))))


def unpack_headers(data: bytes) -> tuple[Header, ...]:
    """The header list that was packed."""
    parts = unpack(data)
    return tuple(zip(parts[::2], parts[1::2], strict=True))


def seal_credentials(credentials: Sequence[tuple[int, bytes, bytes]], sealer: Sealer, context: bytes) -> bytearray:
    """Credentials as they may lie on a disk."""
    parts = [part for position, name, value in credentials for part in (b"%d" % position, name, value)]
    return bytearray(sealer.seal(pack(parts), context))


def open_credentials(sealed: bytes, sealer: Sealer, context: bytes) -> tuple[tuple[int, bytes, bytes], ...] | None:
    """The credentials that were sealed; None: they do not open."""
    opened = sealer.open(sealed, context)
    if opened is None:
        return None
    parts = unpack(opened)
    return tuple(
        (int(position), name, value) for position, name, value in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    )
