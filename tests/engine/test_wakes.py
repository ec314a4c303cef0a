"""Of several wishes to be woken the earliest counts, and it is heard once."""

from __future__ import annotations

import pytest

from strangler.engine.wakes import LONGEST, Wakes
from tests.engine.alarms import alarms_of
from tests.engine.world import NOON, FakeClock

HOUR = 3_600_000


@pytest.mark.parametrize("wishes", [(2_000, 5_000), (5_000, 2_000), (2_000, 2_000)])
async def test_of_several_wishes_for_one_name_the_earliest_is_heard_once(
    monkeypatch: pytest.MonkeyPatch, wishes: tuple[int, int]
) -> None:
    woken: list[str] = []
    alarms, wakes = alarms_of(monkeypatch), Wakes(FakeClock(), woken.append)
    gave_up = [wakes.at("a", NOON + after) for after in wishes]
    assert gave_up == [False, wishes[1] < wishes[0]]
    assert [alarm.seconds for alarm in alarms if not alarm.handle.cancelled()] == [2.0]
    for alarm in alarms:
        alarm.ring()
    assert woken == ["a"]


async def test_names_are_woken_each_by_itself_and_again_when_it_is_wished_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    woken: list[str] = []
    alarms, wakes = alarms_of(monkeypatch), Wakes(FakeClock(), woken.append)
    wakes.at("a", NOON + 2_000)
    wakes.at("b", NOON - 1)
    assert [alarm.seconds for alarm in alarms] == [2.0, 0.0]
    alarms[0].ring()
    wakes.at("a", NOON + 3_000)
    for alarm in alarms[1:]:
        alarm.ring()
    assert woken == ["a", "b", "a"]


async def test_nobody_is_woken_once_it_has_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[str] = []
    alarms, wakes = alarms_of(monkeypatch), Wakes(FakeClock(), woken.append)
    wakes.at("a", NOON)
    wakes.stop()
    wakes.at("b", NOON)
    for alarm in alarms:
        alarm.ring()
    assert woken == []


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_long_sleep_is_by_the_clock_as_it_is_set_meanwhile(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    woken: list[str] = []
    clock = FakeClock()
    alarms, wakes = alarms_of(monkeypatch), Wakes(clock, woken.append)
    wakes.at("a", NOON + HOUR + 2_000)
    clock.instant += hours * HOUR
    alarms[0].ring()
    assert [alarm.seconds for alarm in alarms] == [LONGEST, 2.0 if hours > 0 else LONGEST]
    assert (woken, "a" in wakes) == ([], True)
    clock.instant = NOON + HOUR
    while "a" in wakes:
        alarms[-1].ring()
    assert (woken, alarms[-1].seconds) == (["a"], 2.0)


async def test_whoever_sleeps_long_is_woken_earlier_all_the_same_and_not_once_it_has_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    woken: list[str] = []
    alarms, wakes = alarms_of(monkeypatch), Wakes(FakeClock(), woken.append)
    wakes.at("b", NOON + HOUR)
    alarms[0].ring()
    assert not wakes.at("b", NOON + HOUR)
    assert wakes.at("b", NOON + 1_000)
    wakes.at("c", NOON + HOUR)
    wakes.stop()
    for alarm in alarms[1:]:
        alarm.ring()
    assert (woken, len(alarms)) == ([], 4)
