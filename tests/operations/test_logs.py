"""Lines are written by a thread of their own, and whoever logs never waits."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

import pytest

from strangler.operations.logs import Bridge, Logs, descriptor_writer
from strangler.operations.telemetry import Telemetry
from tests.operations.samples import scraped, value


class Sink:
    """Keeps what is written, and can hold the writer up or break."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.open, self.reached = Event(), Event()
        self.open.set()
        self.broken = False

    def __call__(self, data: bytes) -> None:
        self.reached.set()
        assert self.open.wait(30)
        if self.broken:
            raise BrokenPipeError
        self.written += data

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.written.splitlines()]

    @property
    def events(self) -> list[object]:
        return [line["event"] for line in self.lines]


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    yield sink
    sink.open.set()


def test_lines_are_written_in_order_and_close_writes_what_waits(sink: Sink) -> None:
    logs = Logs(sink)
    logs.line("info", "before-the-start", {})
    logs.start()
    for number in range(1000):
        logs.line("info", "line", {"number": number})
    logs.close()
    assert sink.events[0] == "before-the-start"
    assert [line.get("number") for line in sink.lines[1:]] == list(range(1000))
    assert logs.dropped == 0


def test_a_line_bears_the_instant_at_which_it_was_logged_and_not_written(sink: Sink) -> None:
    instants = iter([1_000_000_000, 2_000_000_000])
    logs = Logs(sink, now=lambda: next(instants))
    logs.line("info", "one", {})
    logs.line("info", "two", {})
    logs.start()
    logs.close()
    assert [line["at"] for line in sink.lines] == ["1970-01-01T00:00:01.000Z", "1970-01-01T00:00:02.000Z"]


def test_lines_below_the_level_are_not_written(sink: Sink) -> None:
    logs = Logs(sink, level="warning")
    logs.start()
    for level in ("debug", "info", "warning", "error"):
        logs.line(level, level, {})
        assert logs.enabled(level) == (level in ("warning", "error"))
    logs.close()
    assert sink.events == ["warning", "error"]


def test_while_the_reader_is_stuck_nobody_waits_and_lines_beyond_the_room_are_counted(sink: Sink) -> None:
    logs = Logs(sink, capacity=10)
    telemetry = Telemetry(logs, version="1", started_at=0)
    sink.open.clear()
    logs.start()
    logs.line("info", "held", {})
    assert sink.reached.wait(30)  # the writer is stuck in its first write
    for _ in range(15):
        logs.line("info", "line", {})
    logs.line("warning", "warning", {})  # has room kept for it
    logs.line("warning", "one-too-many", {})
    assert logs.dropped == 6
    assert value(scraped(telemetry), "strangler_log_lines_dropped_total") == 6
    sink.open.set()
    logs.close()
    assert sink.events == ["held", *["line"] * 10, "warning", "lines_dropped"]
    assert sink.lines[-1]["lines"] == 6


def test_close_gives_up_on_a_reader_that_is_stuck(sink: Sink) -> None:
    logs = Logs(sink)
    sink.open.clear()
    logs.start()
    logs.line("info", "held", {})
    assert sink.reached.wait(30)
    logs.close(timeout=0.01)
    assert sink.written == b""


def test_after_a_reader_was_gone_the_next_lines_are_written_and_say_how_many_were_lost(sink: Sink) -> None:
    logs = Logs(sink)
    sink.broken = True
    logs.line("info", "lost", {})
    logs.start()
    logs.close()
    assert (logs.dropped, sink.events) == (1, [])
    sink.broken = False
    logs.line("info", "back", {})
    logs.start()
    logs.close()
    assert sink.events == ["back", "lines_dropped"]
    assert logs.dropped == 1


def test_a_line_that_cannot_be_shown_does_not_end_the_others(sink: Sink) -> None:
    logs = Logs(sink)
    logs.line("info", "odd", {"number": 10**5000})
    logs.line("info", "next", {})
    logs.start()
    logs.close()
    assert sink.events == ["line_not_shown", "next"]
    assert sink.lines[0]["line"] == "odd"


def test_lines_of_many_threads_are_all_written_whole(sink: Sink) -> None:
    logs = Logs(sink)
    logs.start()
    with ThreadPoolExecutor(4) as pool:
        for thread in range(4):
            pool.submit(lambda thread: [logs.line("info", "line", {"n": (thread, n)[1]}) for n in range(500)], thread)
    logs.close()
    assert len(sink.lines) == 2000


def test_a_pipe_that_takes_a_little_at_a_time_gets_all_of_it() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)  # as another program that shares it may do
    write = descriptor_writer(writing)
    os.close(writing)
    received = bytearray()

    def read() -> None:
        while len(received) < 1_000_000 and (data := os.read(reading, 4096)):
            received.extend(data)

    reader = Thread(target=read, daemon=True)
    reader.start()
    write(b"x" * 1_000_000)
    reader.join(30)
    os.close(reading)
    assert len(received) == 1_000_000


def test_a_descriptor_that_is_closed_and_used_again_gets_no_lines() -> None:
    reading, writing = os.pipe()
    write = descriptor_writer(writing)
    os.close(writing)
    other_reading, other_writing = os.pipe()
    assert other_writing == writing or other_reading == writing  # the number went to somebody else
    write(b"line\n")
    assert os.read(reading, 100) == b"line\n"
    for descriptor in (reading, other_reading, other_writing):
        os.close(descriptor)


def test_a_server_whose_standard_error_nobody_reads_any_more_goes_on() -> None:
    program = """
import sys
from strangler.operations.logs import Logs, descriptor_writer
logs = Logs(descriptor_writer(2))
logs.start()
sys.stdin.read(1)
for number in range(5000):
    logs.line("error", "line", {"number": number})
logs.close()
print("alive", logs.dropped > 0)
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, stderr=-1)
    assert child.stderr is not None
    child.stderr.close()
    child.stderr = None
    out, _ = child.communicate(b"!", timeout=60)
    assert (child.returncode, out) == (0, b"alive True\n")


@pytest.fixture
def bridged(sink: Sink) -> Iterator[Logs]:
    logs = Logs(sink)
    bridge = Bridge(logs)
    bridge.install()
    yield logs
    bridge.remove()


def test_what_libraries_warn_of_comes_among_our_lines_without_what_they_fill_in(bridged: Logs, sink: Sink) -> None:
    library = logging.getLogger("some.library")
    library.info("not this")
    secret = "hunter2"
    library.warning("odd peer %s", secret)
    try:
        raise ValueError(secret)
    except ValueError as error:
        library.exception(f"Task exception was never retrieved\nfuture: <Task exception={error!r}>")
    bridged.start()
    bridged.close()
    assert [(line["level"], line["event"], line["logger"], line["detail"]) for line in sink.lines] == [
        ("warning", "library", "some.library", "odd peer %s"),
        ("error", "library", "some.library", "Task exception was never retrieved"),
    ]
    assert "ValueError (its text is withheld)" in str(sink.lines[1]["traceback"])
    assert secret.encode() not in sink.written


def test_a_bridge_that_was_removed_brings_nothing(bridged: Logs, sink: Sink) -> None:
    second = Bridge(bridged)
    second.install()
    second.remove()
    logging.getLogger("some.library").warning("once")
    bridged.start()
    bridged.close()
    assert sink.events == ["library"]
