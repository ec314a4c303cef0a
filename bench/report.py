"""What was measured, as lines that one can read and compare."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.load import Seen

MIB = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """How long to measure."""

    rounds: int = 5
    seconds: float = 3.0
    quick: bool = False


@dataclass
class Row:
    """One figure, what it is held against, and whether it is what was promised."""

    what: str
    value: str
    against: str = ""
    ratio: str = ""
    target: str = ""
    met: bool | None = None  # None: there is no target
    memory: str = ""
    notes: list[str] = field(default_factory=list)


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def rate(values: Sequence[float]) -> str:
    """Median of rates with their span."""
    return f"{median(values):,.0f}/s ({min(values):,.0f}-{max(values):,.0f})"


def mebibytes(*sizes: int) -> str:
    """Sizes in MiB, side by side."""
    return " / ".join(f"{size / MIB:.0f}" for size in sizes) + " MiB"


@dataclass
class Pair:
    """What two servers did in turn, round by round."""

    ours: list[float] = field(default_factory=list)  # per second
    theirs: list[float] = field(default_factory=list)
    our_cpu: list[float] = field(default_factory=list)  # microseconds each
    their_cpu: list[float] = field(default_factory=list)

    def add(self, ours: Seen, theirs: Seen) -> None:
        """One round."""
        self.ours.append(ours.rate)
        self.our_cpu.append(ours.cpu)
        self.theirs.append(theirs.rate)
        self.their_cpu.append(theirs.cpu)

    def cpu(self) -> str:
        """What one exchange cost each, whoever else was on the core: a figure that a busy machine disturbs less."""
        ours, theirs = median(self.our_cpu), median(self.their_cpu)
        return f"CPU of one: {ours:.0f} against {theirs:.0f} us, a ratio of {theirs / ours:.2f}"


def compared(
    what: str, ours: Sequence[float], theirs: Sequence[float], at_least: float | None, memory: str, *notes: str
) -> Row:
    """A row of two rates measured in turn; the ratio is the median over the rounds, each against its neighbour."""
    ratio = median([mine / other for mine, other in zip(ours, theirs, strict=True)])
    return Row(
        what,
        rate(ours),
        rate(theirs),
        f"{ratio:.2f}",
        "" if at_least is None else f">= {at_least:g}",
        None if at_least is None else ratio >= at_least,
        memory,
        list(notes),
    )


HEADINGS = ("", "strangler", "held against", "ratio", "target", "", "peak memory")


def table(title: str, rows: Sequence[Row]) -> str:
    """A title and its rows in columns."""
    cells = [HEADINGS]
    for row in rows:
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        cells.append((row.what, row.value, row.against, row.ratio, row.target, verdict, row.memory))
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = [title, ""]
    for index, line in enumerate(cells):
        lines.append("  " + "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
        if index:
            lines += [f"      {note}" for note in rows[index - 1].notes]
    return "\n".join(lines)
