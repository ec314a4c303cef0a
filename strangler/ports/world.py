"""Time, chance and names."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Time."""

    boot_id: str

    def now(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        ...

    def boottime(self) -> int:
        """Nanoseconds of CLOCK_BOOTTIME: goes on while the machine sleeps, and no one sets it."""
        ...


class Ids(Protocol):
    """Names and chance."""

    def process_id(self, now: int) -> str:
        """A UUIDv7 with 74 fresh random bits."""
        ...

    def correlation_id(self, now: int) -> str:
        """A new correlation id; it may say when it was made, so that no index is needed to find a process by it."""
        ...

    def span_id(self) -> str:
        """A new span id: 16 hexadecimal digits, not all of them 0."""
        ...

    def chance(self) -> float:
        """A number from [0, 1)."""
        ...
