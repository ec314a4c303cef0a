"""Process ids: UUIDv7 in canonical form, and as 16 bytes."""

from __future__ import annotations

import re

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_id(text: str) -> bool:
    """Whether a text is a UUID in canonical form."""
    return _UUID.fullmatch(text) is not None


def id_bytes(text: str) -> bytearray:
    """The 16 bytes of a UUID.

    Raises:
        ValueError: it is none in canonical form.
    """
    if _UUID.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no UUID in canonical form")
    return bytearray.fromhex(text.replace("-", ""))


def id_text(data: bytes) -> str:
    """The canonical form of a UUID."""
    text = data.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def id_time(data: bytes) -> int:
    """When a UUIDv7 was made, in milliseconds since the Unix epoch (RFC 9562 section 5.7)."""
    return int.from_bytes(data[:6], "big")


def created_before(text: str, instant: int) -> bool:
    """Whether a UUIDv7 was made before an instant: its first 48 bits say when (RFC 9562 section 5.7)."""
    return int(text[:8] + text[9:13], 16) < instant
