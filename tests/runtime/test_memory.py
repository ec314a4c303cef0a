"""A worker that has grown too large."""

from __future__ import annotations

from strangler.runtime.memory import Memory, give_back, resident
from tests.engine.world import COMPAT, Silent, World

LIMIT = 1000


class Process:
    """What an OS process uses, and what its allocator gives back when it is asked to."""

    def __init__(self, used: int, free: int = 0) -> None:
        self.used, self.free = used, free
        self.time = 100.0
        self.reads = 0
        self.instrument = Silent()
        self.memory = Memory(LIMIT, self.instrument, self.read, self.give_back, lambda: self.time)

    def read(self) -> int:
        self.reads += 1
        return self.used

    def give_back(self) -> None:
        self.used -= self.free
        self.free = 0

    def refused(self, used: int | None = None) -> bool:
        """Whether it refuses a while later."""
        if used is not None:
            self.used = used
        self.time += 1
        return self.memory.refusal() is not None


def test_above_the_limit_new_work_is_refused_until_it_is_well_below() -> None:
    process = Process(900)
    assert [process.refused(used) for used in (1000, 1001, 1000, 951, 950, 1000)] == [
        *(False, True, True, True, False, False)
    ]
    told = [values[0] for name, values in process.instrument.told if name == "note"]
    assert told == ["memory_refuses", "memory_takes_work"]


def test_what_the_allocator_keeps_free_is_given_back_first() -> None:
    assert not Process(1200, free=300).refused()


def test_it_looks_only_now_and_then() -> None:
    process = Process(500)
    for _ in range(100):
        process.memory.refusal()
    assert process.reads == 1


def test_without_a_limit_it_does_not_look() -> None:
    process = Process(10**12)
    memory = Memory(0, process.instrument, process.read, process.give_back, lambda: process.time)
    assert memory.refusal() is None
    assert process.reads == 0


def test_what_this_process_uses_is_read_from_the_system() -> None:
    give_back()  # or the ballast may find a place among what earlier tests have left free
    before = resident()
    assert before > 10_000_000
    ballast = bytearray(64 * 1024 * 1024)
    ballast[::4096] = b"x" * (len(ballast) // 4096)
    assert resident() > before + 50_000_000
    del ballast
    give_back()
    assert resident() < before + 50_000_000


async def test_a_worker_short_of_memory_records_nothing() -> None:
    world = World()
    await world.lease.renew()
    world.overloaded = "1200 bytes of memory are in use"
    refused = await world.submit(decision=COMPAT)
    assert (refused.name, refused.retry_after) == ("overloaded", 5)  # type: ignore[union-attr]
    assert await world.store.backlog() == {}
