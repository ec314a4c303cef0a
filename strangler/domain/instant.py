"""Instants as text: RFC 3339 (section 5.6) in UTC with milliseconds; as numbers milliseconds since the Unix epoch.

And HTTP-dates, which are only read here.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400_000
_LAST = (date.max.toordinal() - _EPOCH_ORDINAL + 1) * _DAY - 1

_RFC_3339 = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)


@lru_cache(maxsize=1024)
def to_text(at: int) -> str:
    """``2026-11-21T10:00:00.000Z``; for instants from year 1 on.

    RFC 3339 cannot write what lies beyond year 9999: it is the end of that year.

    Those of a busy moment are asked for again and again: many processes share a millisecond.
    """
    # By arithmetic, because datetime.isoformat takes four times as long, and a status document holds four of them.
    days, rest = divmod(min(at, _LAST), _DAY)
    return "%sT%02d:%02d:%02d.%03dZ" % (  # noqa: UP031 - measured a third faster than an f-string
        _day(days),
        rest // 3_600_000,
        rest // 60_000 % 60,
        rest // 1000 % 60,
        rest % 1000,
    )


@lru_cache(maxsize=64)
def _day(days: int) -> str:
    """The date so many days after the epoch; nearly all instants that are written lie in a few days."""
    return date.fromordinal(_EPOCH_ORDINAL + days).isoformat()


def from_text(text: str) -> int:
    """The instant that an RFC 3339 text names; what is finer than a millisecond is cut off.

    Raises:
        ValueError: it is no RFC 3339 date and time with an offset.
    """
    found = _RFC_3339.fullmatch(text)
    if found is None:
        raise ValueError("expected an RFC 3339 instant, as in 2026-11-21T10:00:00Z")
    day, time, fraction, offset = found.groups()
    try:
        whole = datetime.fromisoformat(f"{day}T{time}{'+00:00' if offset in 'Zz' else offset}")
    except ValueError as error:
        raise ValueError(f"expected an instant that there is: {error}") from None
    return (whole - _EPOCH) // timedelta(milliseconds=1) + int((fraction or "0").ljust(3, "0")[:3])


def from_http_date(text: str) -> int | None:
    """The instant that an HTTP-date names, in any of its three forms (RFC 9110 section 5.6.7); None: it names none."""
    try:
        named = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # The form of asctime names no zone, and means UTC all the same.
    moment = named if named.tzinfo is not None else named.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)
