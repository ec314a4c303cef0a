"""A step of the sweep takes as long as it may, and says whether there is more to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from strangler.store.sqlite import sweeping
from strangler.store.sqlite.connection import Connection, open_writer
from strangler.store.sqlite.library import choose_library
from strangler.store.sqlite.sweeping import PROCESSES, Step, in_pieces, in_time


class Heap:
    """So much to do."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.asked: list[int] = []

    def __call__(self, most: int, _: Connection) -> int:
        self.asked.append(most)
        taken = min(most, self.left)
        self.left -= taken
        return taken


@pytest.fixture
def connection(tmp_path: Path) -> Connection:
    return open_writer(tmp_path / "x.db", choose_library())


def test_it_ends_when_there_is_no_more(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "PATIENCE", 60.0)
    heap = Heap(10)
    assert in_time(heap, 100, 4, connection) == Step(10, more=False)
    assert heap.asked == [4, 4, 4]


def test_it_takes_no_more_than_it_is_told(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "PATIENCE", 60.0)
    heap = Heap(100)
    assert in_time(heap, 10, 4, connection) == Step(10, more=True)
    assert heap.asked == [4, 4, 2]


def test_when_it_has_taken_long_enough_the_rest_is_left(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "PATIENCE", 0.0)
    heap = Heap(100)
    assert in_time(heap, 100, 4, connection) == Step(4, more=True)


@pytest.mark.parametrize(("patience", "pieces"), [(60.0, [PROCESSES, PROCESSES, 2]), (0.0, [PROCESSES])])
def test_what_was_found_is_forgotten_piece_by_piece_until_it_has_taken_long_enough(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, patience: float, pieces: list[int]
) -> None:
    monkeypatch.setattr(sweeping, "PATIENCE", patience)
    found = [bytes([number]) for number in range(2 * PROCESSES + 2)]
    forgotten: list[Sequence[bytes]] = []
    done = in_pieces(lambda piece, _: forgotten.append(piece), found, connection)
    assert [len(piece) for piece in forgotten] == pieces
    assert [one for piece in forgotten for one in piece] == found[:done]
