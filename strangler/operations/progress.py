"""``POST /processes/{id}/progress``: an operator, or the legacy system itself, says how far a process is."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from strangler.domain import instant
from strangler.domain.process import Process, Tombstone

MAX_BODY = 16 * 1024
_STATUS = 200  # characters
_TEXT = 1000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

Tell = Callable[[str, str, str | None], Awaitable[Process | Tombstone | None]]
"""Process id, status and text; see `Commands.report`."""


class BadProgress(ValueError):
    """The body of the request is not what is expected; the text says why."""


class Progress(NamedTuple):
    """How far a process is."""

    status: str  # the domain's word
    text: str | None  # shown to its client as the reason


def parse(data: bytes) -> Progress:
    """What a body says.

    Raises:
        BadProgress: it is not ``{"status": "…", "text": "…"}``.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise BadProgress("expected a JSON object") from None
    if not isinstance(found, Mapping):
        raise BadProgress("expected a JSON object")
    if unknown := sorted(found.keys() - {"status", "text"}):
        raise BadProgress(f"unknown member {unknown[0][:100]}; known are status and text")
    return Progress(_member(found, "status", _STATUS), _member(found, "text", _TEXT) if "text" in found else None)


def document(process: Process) -> dict[str, Any]:
    """What is answered: the process as its client sees it by now."""
    told: dict[str, Any] = {
        "id": process.id,
        "state": process.public_state,
        "version": process.version,
        "updatedAt": instant.to_text(process.updated_at),
    }
    for name, value in (("status", process.status), ("reason", process.reason)):
        if value is not None:
            told[name] = value
    return told


def _member(found: Mapping[str, Any], name: str, longest: int) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > longest or _CONTROL.search(value):
        raise BadProgress(f"expected {name} to be text of 1 to {longest} characters on one line")
    return value
