"""Exceptions as rows, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from strangler.domain.exceptions import DUE_AFTER
from strangler.ports import ExceptionEntry, OpenException
from strangler.store.ids import id_bytes, id_text

_NO_PROCESS = bytes(16)

COLUMNS = "seq, process_id, kind, subject, route, opened_at, due_at, detail, owner, closed_at, closed_by, action"


def key_of(process_id: str | None) -> bytearray:
    """What stands for a process; zeros: the exception is about the whole store."""
    return bytearray(_NO_PROCESS) if process_id is None else id_bytes(process_id)


def entry_of(row: Sequence[Any]) -> ExceptionEntry:
    """An exception from its columns; the process as bytes, or as hexadecimal digits."""
    number, process_id, *rest = row
    if isinstance(process_id, str):
        process_id = bytes.fromhex(process_id)
    return ExceptionEntry(number, None if process_id == _NO_PROCESS else id_text(process_id), *rest)


def opening(exception: OpenException) -> tuple[Any, ...]:
    """What is written of an exception: process, kind, opened, detail, subject, due."""
    due_at = exception.at + DUE_AFTER[exception.kind]
    key = key_of(exception.process_id)
    return key, exception.kind, exception.at, exception.detail, exception.subject, due_at
