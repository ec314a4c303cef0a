"""The clock and the names of this machine."""

from __future__ import annotations

import gc
import os
import time
import uuid
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from strangler.config.system import SystemClock, SystemIds
from strangler.ports import Clock, Ids

NOW = 0x0195_1122_3344


def test_both_serve_as_the_ports_they_are_for() -> None:
    clock: Clock = SystemClock()
    ids: Ids = SystemIds()
    assert isinstance(clock.boot_id, str)
    assert uuid.UUID(ids.process_id(clock.now())).version == 7


def test_now_is_milliseconds_since_the_epoch() -> None:
    before = time.time_ns() // 1_000_000
    assert before <= SystemClock().now() <= time.time_ns() // 1_000_000


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this platform has no CLOCK_BOOTTIME")
def test_boottime_is_nanoseconds_since_the_machine_booted() -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert before <= SystemClock().boottime() <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def test_where_there_is_no_boottime_the_monotonic_clock_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    clock = SystemClock()
    before = time.monotonic_ns()
    assert before <= clock.boottime() <= time.monotonic_ns()


def test_the_boot_id_is_the_kernels(tmp_path: Path) -> None:
    path = tmp_path / "boot_id"
    path.write_text("0d5ba6c4-3f0e-4a3c-9f0e-1c2d3e4f5a6b\n")
    assert SystemClock(path).boot_id == "0d5ba6c4-3f0e-4a3c-9f0e-1c2d3e4f5a6b"


def test_without_a_kernels_boot_id_all_workers_of_a_machine_name_it_alike(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    missing, again, empty = (SystemClock(tmp_path / name).boot_id for name in ("none", "none", "empty"))
    assert missing == again == empty != ""


def test_a_process_id_is_a_version_7_uuid_of_its_millisecond_in_canonical_text() -> None:
    ids = SystemIds()
    for _ in range(1000):
        text = ids.process_id(NOW)
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert parsed.version == 7
        assert parsed.variant == uuid.RFC_4122
        assert parsed.int >> 80 == NOW


def test_all_74_random_bits_of_a_process_id_vary() -> None:
    ids = SystemIds()
    seen_set = seen_clear = 0
    for _ in range(2000):
        number = uuid.UUID(ids.process_id(NOW)).int
        seen_set |= number
        seen_clear |= ~number
    fixed = (0xF << 76) | (0x3 << 62)  # version and variant
    free = ((1 << 80) - 1) & ~fixed
    assert free.bit_count() == 74
    assert seen_set & seen_clear & ((1 << 80) - 1) == free


def test_process_ids_sort_by_their_millisecond() -> None:
    ids = SystemIds()
    made = [ids.process_id(NOW + step) for step in range(500)]
    assert made == sorted(made)
    assert ids.process_id(1) < ids.process_id((1 << 48) - 1)


def test_no_two_process_ids_are_the_same_over_many_refills() -> None:
    ids = SystemIds()
    assert len({ids.process_id(NOW) for _ in range(20_000)}) == 20_000


def test_threads_that_share_a_source_get_different_ids() -> None:
    ids = SystemIds()
    with ThreadPoolExecutor(4) as pool:
        made = [
            name for part in pool.map(lambda _: [ids.process_id(NOW) for _ in range(2000)], range(4)) for name in part
        ]
    assert len(set(made)) == len(made)


def test_a_forked_worker_does_not_repeat_the_ids_of_its_parent() -> None:
    ids = SystemIds()
    ids.process_id(NOW)  # fills the buffer that a child inherits
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer versions warn where another test left a thread
        child = os.fork()
    if child == 0:  # the child: nothing of the test runner may run in it
        os.write(writing, "\n".join(ids.process_id(NOW) for _ in range(20)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        theirs = set(pipe.read().split("\n"))
    assert len(theirs) == 20
    assert not theirs & {ids.process_id(NOW) for _ in range(20)}


def test_a_source_that_is_no_longer_used_is_not_kept_for_the_sake_of_forks() -> None:
    ids = SystemIds()
    kept = weakref.ref(ids)
    del ids
    gc.collect()
    assert kept() is None


def test_correlation_ids_are_new_each_time_and_have_the_form_of_a_trace_id() -> None:
    ids = SystemIds()
    made = {ids.correlation_id(1_800_000_000_000) for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(text) == 32 and set(text) <= set("0123456789abcdef") for text in made)


def test_a_correlation_id_says_when_it_was_made_as_a_process_id_does() -> None:
    ids = SystemIds()
    now = 1_800_000_000_123
    assert ids.correlation_id(now)[:12] == ids.process_id(now).replace("-", "")[:12]


def test_chance_lies_between_nought_and_one_and_varies() -> None:
    ids = SystemIds()
    drawn = [ids.chance() for _ in range(200)]
    assert all(0 <= number < 1 for number in drawn)
    assert len(set(drawn)) > 100
