"""The insurer's register of claims: one SQLite file of its own, as a system of 2006 would have it.

It takes whatever it is given. A claim that is handed in a second time is a second claim: it is told from the first only
by whoever looks at the list afterwards.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

POLICIES = (
    ("P-1001", "Jansen", "household"),
    ("P-1002", "de Vries", "household"),
    ("P-1003", "Bakker", "motor"),
    ("P-1004", "Visser", "motor"),
    ("P-1005", "Smit", "travel"),
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS policy (number TEXT PRIMARY KEY, holder TEXT NOT NULL, cover TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS claim (
    id INTEGER PRIMARY KEY,
    policy TEXT NOT NULL REFERENCES policy (number),
    amount INTEGER NOT NULL,
    description TEXT NOT NULL,
    registered_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
"""

_CLAIMS = """
SELECT claim.id, policy, amount, description, registered_at,
    (SELECT min(first.id) FROM claim AS first
     WHERE (first.policy, first.amount, first.description) = (claim.policy, claim.amount, claim.description))
FROM claim
"""


class Policy(NamedTuple):
    """An insurance policy."""

    number: str
    holder: str
    cover: str


class Claim(NamedTuple):
    """A claim as it stands in the register."""

    number: str
    policy: str
    amount: int  # whole euros
    description: str
    registered_at: str  # RFC 3339, UTC
    duplicate_of: str | None  # the first claim that says the same


class Register:
    """Policies and claims in a SQLite file, which is made when there is none. Safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as connection:
            connection.executescript(_SCHEMA)
            connection.executemany("INSERT OR IGNORE INTO policy VALUES (?, ?, ?)", POLICIES)

    def policy(self, number: str) -> Policy | None:
        """The policy of that number."""
        with self._open() as connection:
            row = connection.execute("SELECT number, holder, cover FROM policy WHERE number = ?", (number,)).fetchone()
        return Policy(*row) if row else None

    def add(self, policy: str, amount: int, description: str) -> Claim:
        """Register a claim, whether or not the same one is there already."""
        with self._open() as connection:
            cursor = connection.execute(
                "INSERT INTO claim (policy, amount, description) VALUES (?, ?, ?)", (policy, amount, description)
            )
            row = connection.execute(_CLAIMS + "WHERE claim.id = ?", (cursor.lastrowid,)).fetchone()
        return _claim(row)

    def claims(self) -> list[Claim]:
        """All claims, the oldest first."""
        with self._open() as connection:
            return [_claim(row) for row in connection.execute(_CLAIMS + "ORDER BY claim.id")]

    def claim(self, number: str) -> Claim | None:
        """The claim of that number."""
        return next((claim for claim in self.claims() if claim.number == number), None)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        # A connection per call: the callers are the threads of a pool, and nothing here is in a hurry.
        connection = sqlite3.connect(self._path, timeout=30)
        try:
            with connection:
                yield connection
        finally:
            connection.close()


def _claim(row: tuple[int, str, int, str, str, int]) -> Claim:
    number, policy, amount, description, registered_at, first = row
    return Claim(
        _number(number), policy, amount, description, registered_at, None if first == number else _number(first)
    )


def _number(row_id: int) -> str:
    return f"C-{row_id:04d}"
