"""What fills a store: sums over its rows, by table, route and age. Content is counted; indexes come on top."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

BODIES = frozenset({"request", "reply", "chunk", "evidence"})
"""Tables that hold what clients sent and what upstreams answered."""

AGES = (("1d", 86_400_000), ("7d", 7 * 86_400_000), ("30d", 30 * 86_400_000))
OLDER = "older"


class Cell(NamedTuple):
    """Rows of one table that belong to processes alike."""

    table: str
    route: str
    age: str  # up to which the processes are old, one of `AGES` or `OLDER`
    ended: bool
    rows: int
    bytes: int


class File(NamedTuple):
    """The file itself, in bytes."""

    path: str
    size: int
    empty: int  # of its pages, ready to be used again
    log: int  # the write-ahead log


@dataclass(slots=True)
class Usage:
    """The sums so far."""

    file: File
    cells: list[Cell] = field(default_factory=list)
    others: dict[str, tuple[int, int]] = field(default_factory=dict)  # table to rows and bytes, of no process

    def add(self, cells: Iterable[Cell]) -> None:
        """Count some more."""
        sums: dict[tuple[str, str, str, bool], tuple[int, int]] = {cell[:4]: cell[4:] for cell in self.cells}
        for cell in cells:
            rows, size = sums.get(cell[:4], (0, 0))
            sums[cell[:4]] = rows + cell.rows, size + cell.bytes
        self.cells = [Cell(*key, *value) for key, value in sums.items()]

    @property
    def sheddable(self) -> int:
        """Bytes of bodies of processes that have ended."""
        return sum(cell.bytes for cell in self.cells if cell.table in BODIES and cell.ended)

    def document(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "file": {
                "path": self.file.path,
                "bytes": self.file.size,
                "emptyBytes": self.file.empty,
                "logBytes": self.file.log,
            },
            "sheddableBytes": self.sheddable,
            "tables": self._tables(),
            "routes": [{"route": route, **self._parts("route", route)} for route in self._names("route")],
            "ages": [
                {"upTo": age, **self._parts("age", age)}
                for age in (*(name for name, _ in AGES), OLDER)
                if age in self._names("age")
            ],
        }

    def _tables(self) -> list[dict[str, Any]]:
        rows: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        for cell in self.cells:
            rows[cell.table] += cell.rows
            sizes[cell.table] += cell.bytes
        for name, (number, size) in self.others.items():
            rows[name] += number
            sizes[name] += size
        return [
            {"table": name, "rows": rows[name], "bytes": sizes[name]} for name in sorted(rows, key=lambda n: -sizes[n])
        ]

    def _names(self, kind: str) -> list[str]:
        return sorted({getattr(cell, kind) for cell in self.cells})

    def _parts(self, kind: str, name: str) -> dict[str, int]:
        cells = [cell for cell in self.cells if getattr(cell, kind) == name]
        return {
            "processes": sum(cell.rows for cell in cells if cell.table == "process"),
            "ended": sum(cell.rows for cell in cells if cell.table == "process" and cell.ended),
            "bytes": sum(cell.bytes for cell in cells),
            "bodyBytes": sum(cell.bytes for cell in cells if cell.table in BODIES),
            "sheddableBytes": sum(cell.bytes for cell in cells if cell.table in BODIES and cell.ended),
        }
