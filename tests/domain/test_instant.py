"""Instants as text and back."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strangler.domain import instant

LAST = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z


@given(st.integers(min_value=-62_135_596_800_000, max_value=LAST))
def test_every_instant_is_the_same_after_text_and_back(at: int) -> None:
    assert instant.from_text(instant.to_text(at)) == at


@pytest.mark.parametrize("at", [LAST + 1, LAST + 10**15])
def test_what_lies_beyond_the_years_that_rfc_3339_can_write_is_the_end_of_the_last_one(at: int) -> None:
    assert instant.to_text(at) == "9999-12-31T23:59:59.999Z"


@given(st.datetimes(timezones=st.just(UTC)))
def test_the_text_is_what_datetime_would_write(moment: datetime) -> None:
    at = instant.from_text(moment.isoformat(timespec="milliseconds"))

    assert instant.to_text(at) == moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-21T10:00:00Z", 1_795_255_200_000),
        ("2026-11-21t11:00:00.5+01:00", 1_795_255_200_500),
        ("2026-11-21T10:00:00.123987654Z", 1_795_255_200_123),
        ("1970-01-01T00:00:00.000Z", 0),
    ],
)
def test_what_rfc_3339_allows_is_read(text: str, at: int) -> None:
    assert instant.from_text(text) == at


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-11-21", "2026-11-21T10:00:00", "2026-13-01T10:00:00Z", "2026-11-21T10:00:00Z ", "1"]
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        instant.from_text(text)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("Sat, 21 Nov 2026 10:00:00 GMT", 1_795_255_200_000),
        ("Saturday, 21-Nov-26 10:00:00 GMT", 1_795_255_200_000),
        ("Sat Nov 21 10:00:00 2026", 1_795_255_200_000),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 -2359", LAST - 999 + 86_340_000),
        ("Sat, 21 Nov 99999999999999999999 10:00:00 GMT", None),
        ("Sat, 21 Nov 2026 10:00:00 +99999999999999999999", None),
        ("yesterday", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_each_form_of_an_http_date_is_read_as_utc_wherever_we_are(
    text: str, at: int | None, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert instant.from_http_date(text) == at
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.lists(st.sampled_from(["Sat,", "21", "Nov", "2026", "10:00:00", "GMT", "+9999", "9" * 30, "²", "-", ":"])))
def test_no_text_is_too_strange_to_be_no_http_date(words: list[str]) -> None:
    at = instant.from_http_date(" ".join(words))

    assert at is None or isinstance(at, int)
