"""Instants as people give them: 2026-11-21, 2026-11-21T10:00:00Z, or 2h and 3d ago."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from strangler.domain import instant
from strangler.domain.errors import OperatorError

_FLAGS = {"createdAfter": "--since", "createdBefore": "--until"}
_DATED = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_AGO = re.compile(r"(\d{1,6})([smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def moments(query: Mapping[str, str | None]) -> dict[str, str | None]:
    """Since when and until when, with what is ago as an instant; the server reads the rest.

    Raises:
        OperatorError: one can be no instant.
    """
    return {name: _moment(query[name], flag) for name, flag in _FLAGS.items()}


def _moment(text: str | None, flag: str) -> str | None:
    if text is None or _DATED.match(text):
        return text
    found = _AGO.fullmatch(text)
    if found is None:
        raise OperatorError(f"{flag}: expected 2026-11-21, 2026-11-21T10:00:00Z, or 2h, 3d ago, found {text!r}")
    return instant.to_text(int((time.time() - int(found[1]) * _SECONDS[found[2]]) * 1000))
