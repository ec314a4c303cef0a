"""Whether a file is surely somebody else's, by its first bytes: before a lock or a key of ours lies beside it."""

from __future__ import annotations

from pathlib import Path

from strangler.store.sqlite.connection import APPLICATION_ID

_MAGIC = b"SQLite format 3\0"
_HEADER = 100  # bytes; the root page of the schema begins behind it
_INTERIOR = 5


def why_foreign(path: Path) -> str | None:
    """Why a file is surely none of ours, for people; None: it may be, there is none, or it cannot be read here.

    Ours is marked before there is a table in it, and SQLite takes both from its log into the file in that order
    (SQLite file format, sections 1.3.9 and 1.6).
    """
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER + 8)
    except OSError:
        return None
    if not head:
        return None
    if not head.startswith(_MAGIC):
        return "it is no SQLite database"
    mark = int.from_bytes(head[68:72], "big")
    has_tables = head[_HEADER : _HEADER + 1] == bytes([_INTERIOR]) or any(head[_HEADER + 3 : _HEADER + 5])
    if mark == APPLICATION_ID or not (mark or has_tables):
        return None
    return "it is a SQLite database of something else"
