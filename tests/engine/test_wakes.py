"""Of several wishes to be woken the earliest counts, and it is heard once."""

from __future__ import annotations

import pytest

from strangler.engine.wakes import Wakes
from tests.engine.alarms import alarms_of
from tests.engine.world import NOON, FakeClock


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
