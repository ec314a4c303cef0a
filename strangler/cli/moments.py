"""Instants as people give them: 2026-11-21, 2026-11-21T10:00:00Z, or 2h and 3d ago."""

from __future__ import annotations

import re
import time

from strangler.domain import instant

_AGO = re.compile(r"(\d{1,6})([smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def moment(text: str | None) -> str | None:
    """What is ago as an instant; the server reads the rest."""
    found = _AGO.fullmatch(text or "")
    if found is None:
        return text
    return instant.to_text(int((time.time() - int(found[1]) * _SECONDS[found[2]]) * 1000))
