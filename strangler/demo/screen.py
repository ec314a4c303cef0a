"""What the viewer sees: plain text in eighty columns, with a line that ticks while something takes long."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import fill
from typing import TextIO

WIDTH = 80
_TICK = 0.1  # seconds, on a terminal
_LINE = 5.0  # seconds, elsewhere
_PLAIN = str.maketrans({"─": "-", "→": ">", "←": "<", "✓": "+", "✗": "x", "·": "-", "…": "~", "×": "x"})


class Screen:
    """Writes to ``stream``; a terminal gets the ticking line, anything else a plain line now and then."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._terminal = self._stream.isatty()
        self._blank = True  # whether the last line was empty
        self._ascii = not (getattr(self._stream, "encoding", None) or "").lower().startswith("utf")

    def line(self, text: str = "") -> None:
        """One line as it is."""
        self._write(text.rstrip() + "\n")
        self._blank = not text

    def heading(self, text: str) -> None:
        """The begin of a part of the story."""
        if not self._blank:
            self.line()
        self.line(f"── {text} ".ljust(WIDTH, "─"))
        self.line()

    def prose(self, text: str) -> None:
        """A paragraph, wrapped."""
        self.line(fill(" ".join(text.split()), WIDTH - 2, initial_indent="  ", subsequent_indent="  "))
        self.line()

    def sent(self, text: str) -> None:
        """What a client sends."""
        self.line(f"    → {text}")

    def came(self, text: str, seconds: float | None = None) -> None:
        """What comes back, and after how long."""
        self.line(f"    ← {text}" if seconds is None else _beside(f"    ← {text}", elapsed(seconds)))

    def detail(self, text: str) -> None:
        """A line that belongs to the one before."""
        self.line(f"      {text}")

    def good(self, text: str) -> None:
        """What turned out well."""
        self.line(f"    ✓ {text}")

    def bad(self, text: str, seconds: float) -> None:
        """What turned out badly, and after how long."""
        self.line(_beside(f"    ✗ {text}", elapsed(seconds)))

    def typed(self, text: str, remark: str) -> None:
        """What an operator types."""
        self.line(_beside(f"    $ {text}", remark))

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """While inside, something takes long: say so, and for how long already."""
        over = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(text, over), daemon=True)
        ticker.start()
        try:
            yield
        finally:
            over.set()
            ticker.join()

    def _tick(self, text: str, over: threading.Event) -> None:
        began = time.monotonic()
        if not self._terminal:
            while not over.wait(_LINE):
                self.line(f"    · {text}, {time.monotonic() - began:.0f} s")
            return
        while not over.wait(_TICK):
            self._write(f"\r    · {text}  {time.monotonic() - began:.1f} s\x1b[K")
        self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._stream.write(text.translate(_PLAIN) if self._ascii else text)
        self._stream.flush()


def elapsed(seconds: float) -> str:
    """A duration for people: milliseconds where it is short."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _beside(text: str, right: str) -> str:
    return f"{text} {right.rjust(WIDTH - len(text) - 3)}"
