"""The `deprecation` section of a route: dates of the policy to header values."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

from strangler.config.section import Section
from strangler.config.urls import web_url
from strangler.policy.model import Deprecation


def build_deprecation(section: Section) -> Deprecation | None:
    """``Deprecation`` (RFC 9745 section 2.1: an SF Date), ``Sunset`` (RFC 8594: an HTTP-date) and the link."""
    values = section.values.get("deprecation")
    if values is None:
        return None
    since = _instant(section, "since", values.get("since"))
    sunset = _instant(section, "sunset", values.get("sunset"))
    if since is not None and sunset is not None and sunset < since:
        # RFC 9745 section 4: what is to go away must not have gone before it was deprecated.
        section.complain(("deprecation", "sunset"), "expected a date that is not before `since`")
    if "link" in values and web_url(values["link"]) is None:
        section.complain(("deprecation", "link"), "expected an absolute URL; its host or port is not one")
    return Deprecation(
        since=None if since is None else f"@{since.timestamp():.0f}",
        sunset=None if sunset is None else format_datetime(sunset, usegmt=True),
        link=values.get("link"),
    )


def _instant(section: Section, key: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        section.complain(("deprecation", key), "there is no such date")
        return None
    # A date alone is its first moment, in UTC.
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
