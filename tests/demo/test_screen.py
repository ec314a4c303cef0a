"""What the viewer sees."""

from __future__ import annotations

import io
import threading

import pytest

from strangler.demo import screen as screen_module
from strangler.demo.screen import WIDTH, Screen, elapsed


class Terminal(io.StringIO):
    """Takes what is shown; ``ticked`` is set once something was shown twice on the same line."""

    encoding = "utf-8"

    def __init__(self, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__()
        self._is_terminal = terminal
        self.encoding = encoding
        self.ticked = threading.Event()

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str) -> int:
        if " s" in text:
            self.ticked.set()
        return super().write(text)


def test_prose_keeps_to_eighty_columns() -> None:
    stream = Terminal(terminal=False)

    Screen(stream).prose("word " * 60)

    assert max(map(len, stream.getvalue().splitlines())) <= WIDTH
    assert stream.getvalue().count("word") == 60


def test_a_duration_stands_at_the_right() -> None:
    stream = Terminal(terminal=False)

    Screen(stream).came("202 Accepted", 0.0042)

    assert stream.getvalue().rstrip("\n") == "    ← 202 Accepted" + "4 ms".rjust(60)


def test_a_terminal_gets_a_line_that_ticks_and_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen_module, "_TICK", 0.001)
    stream = Terminal(terminal=True)

    with Screen(stream).waiting("the legacy system works"):
        assert stream.ticked.wait(10)

    assert "\r    · the legacy system works  0.0 s\x1b[K" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")
    assert "\n" not in stream.getvalue()


def test_anything_else_gets_a_plain_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen_module, "_LINE", 0.001)
    stream = Terminal(terminal=False)

    with Screen(stream).waiting("the legacy system works"):
        assert stream.ticked.wait(10)

    assert stream.getvalue().startswith("    · the legacy system works, 0 s\n")
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_what_ends_quickly_leaves_no_line() -> None:
    stream = Terminal(terminal=False)

    with Screen(stream).waiting("the legacy system works"):
        pass

    assert stream.getvalue() == ""


def test_the_ticking_ends_when_the_work_fails() -> None:
    before = threading.active_count()

    with pytest.raises(TimeoutError), Screen(Terminal(terminal=True)).waiting("work"):
        raise TimeoutError

    assert threading.active_count() == before


def test_a_stream_that_knows_no_unicode_gets_none() -> None:
    stream = Terminal(terminal=False, encoding="ANSI_X3.4-1968")
    screen = Screen(stream)

    screen.heading("1  The old way")
    screen.sent("GET …/claims")
    screen.good("done")

    assert stream.getvalue().isascii()


@pytest.mark.parametrize(("seconds", "text"), [(0.0042, "4 ms"), (0.9994, "999 ms"), (1.0, "1.0 s"), (12.34, "12.3 s")])
def test_short_durations_are_milliseconds(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text
