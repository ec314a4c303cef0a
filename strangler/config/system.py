"""This machine's clock, and its source of names and chance."""

from __future__ import annotations

import os
import socket
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_DRAWS = 128  # names per call of the kernel: a call costs about as much as all that is made of it
_DIGITS = 20  # hexadecimal digits of a draw, as many as the longest name takes
_ID_DIGITS = 19  # 12 bits, 2 of the 4 bits beside the variant, 60 bits
_SPAN_DIGITS = 16
_CHANCE_DIGITS = 13  # 52 bits: about as many as a float has
_CHANCES = 16.0**_CHANCE_DIGITS
_BYTES = -(-_DRAWS * _DIGITS // 2)
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}  # RFC 9562 section 4.1


class SystemClock:
    """The clock of this machine (`ports.Clock`)."""

    def __init__(self, boot_id: Path = _BOOT_ID) -> None:
        self.boot_id = _read_boot_id(boot_id)
        self._boottime: int | None = getattr(time, "CLOCK_BOOTTIME", None)

    def now(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        return time.time_ns() // 1_000_000

    def boottime(self) -> int:
        """Nanoseconds of CLOCK_BOOTTIME; of the monotonic clock where the platform has no such clock."""
        return time.monotonic_ns() if self._boottime is None else time.clock_gettime_ns(self._boottime)


def _read_boot_id(path: Path) -> str:
    try:
        text = path.read_text("ascii").strip()
    except OSError:
        text = ""
    # All workers of a machine must name its boot alike, or one takes another's live lease for one of an earlier boot.
    # So where the kernel gives no name it is the machine's; a lease of an earlier boot is then void at start-up only.
    return text or f"host:{socket.gethostname()}"


class SystemIds:
    """Names and chance from the kernel's random numbers (`ports.Ids`). Safe over forks and threads."""

    def __init__(self) -> None:
        self._draws: Iterator[str] = iter(())
        forget = weakref.WeakMethod(self._forget)
        os.register_at_fork(after_in_child=lambda: (call := forget()) and call())

    def process_id(self, now: int) -> str:
        """A UUIDv7 (RFC 9562 section 5.7) for the millisecond ``now``, with 74 fresh random bits."""
        # `next` on a list iterator is one step for all threads: no two get the same draw.
        draw = next(self._draws, None) or self._refill()
        at = f"{now:012x}"
        return f"{at[:8]}-{at[8:]}-7{draw[:3]}-{_VARIANT[draw[3]]}{draw[4:7]}-{draw[7:_ID_DIGITS]}"

    def correlation_id(self, now: int) -> str:
        """A new correlation id: 32 hexadecimal digits, the form of a W3C trace id. The first 12 are the millisecond
        ``now``, as in a process id, so that no index is needed to find a process by it; the others are random."""
        return f"{now:012x}{next(self._draws, None) or self._refill()}"

    def span_id(self) -> str:
        """A new span id (W3C trace context): 16 hexadecimal digits."""
        span = (next(self._draws, None) or self._refill())[:_SPAN_DIGITS]
        return span if span.strip("0") else self.span_id()

    def chance(self) -> float:
        """A number from [0, 1)."""
        draw = next(self._draws, None) or self._refill()
        return int(draw[:_CHANCE_DIGITS], 16) / _CHANCES

    def _refill(self) -> str:
        digits = os.urandom(_BYTES).hex()
        first, *others = [digits[start : start + _DIGITS] for start in range(0, _DRAWS * _DIGITS, _DIGITS)]
        self._draws = iter(others)
        return first

    def _forget(self) -> None:
        """After a fork: what is left of the draws is the parent's too."""
        self._draws = iter(())
