"""Process ids: UUIDv7 in canonical form, and as 16 bytes."""

from __future__ import annotations

from strangler.domain.process import ID, is_id

FIRST, LAST = bytes(16), b"\xff" * 16

_BEYOND = 1 << 48  # the first instant, in milliseconds, that no UUIDv7 can tell


def id_bytes(text: str) -> bytearray:
    """The 16 bytes of a UUID.

    Raises:
        ValueError: it is none in canonical form.
    """
    if ID.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no UUID in canonical form")
    return bytearray.fromhex(text.replace("-", ""))


def id_text(data: bytes) -> str:
    """The canonical form of a UUID."""
    text = data.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def asked_id(text: str) -> bytearray:
    """The 16 bytes of an id that somebody asks for; empty, below every id, where it is none."""
    return id_bytes(text) if is_id(text) else bytearray()


def id_time(data: bytes) -> int:
    """When a UUIDv7 was made, in milliseconds since the Unix epoch (RFC 9562 section 5.7)."""
    return int.from_bytes(data[:6], "big")


def time_digits(text: str) -> str:
    """The digits of a UUIDv7 that say when it was made."""
    return text[:8] + text[9:13]


def time_of(text: str) -> int:
    """`id_time` of the canonical form."""
    return int(time_digits(text), 16)


def first_id(instant: int) -> bytes:
    """The least id that is of an instant, in milliseconds since the epoch, or later; `LAST` where there is none."""
    return max(instant, 0).to_bytes(6, "big") + bytes(10) if instant < _BEYOND else LAST
