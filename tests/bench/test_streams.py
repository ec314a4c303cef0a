"""The scenario of the followers, as it is run for a first look."""

from __future__ import annotations

import pytest

from bench.report import Settings
from bench.streams import streams


@pytest.mark.slow
def test_all_followers_are_told_the_end() -> None:
    told, memory, delay = streams(Settings(rounds=1, seconds=1.0, quick=True))
    assert told.met, told
    assert told.value == "1,000 of 1,000"
    assert memory.value.endswith("KiB")
    assert delay.value.startswith("p99")
