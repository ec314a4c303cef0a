"""`strangler store rekey` without a server: which key a store is given, and what is said of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from strangler.cli import main
from strangler.store.known_key import adopt, is_known
from strangler.store.open import open_store
from strangler.store.sealing import AesGcmSealer, key_path
from tests.store.builders import FakeClock

OLD, NEW = b"o" * 32, b"n" * 32
WHY = ("--confirm", "--why", "the disk with the key is gone")


class Kept:
    """A store on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path / "s.db"
        self.url = f"sqlite:///{self.path}"

    def knows(self, key: bytes) -> bool | None:
        async def ask() -> bool | None:
            store = open_store(self.url, AesGcmSealer(OLD), FakeClock())
            known = await is_known(store, key)
            await store.close()
            return known

        return asyncio.run(ask())

    def given(self, key: bytes) -> None:
        async def give() -> None:
            store = open_store(self.url, AesGcmSealer(OLD), FakeClock())
            await adopt(store, key)
            await store.close()

        asyncio.run(give())

    def rekey(self, *words: str) -> int:
        return main(["store", "rekey", "--store", self.url, *words])


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    store = Kept(tmp_path)
    store.given(OLD)
    return store


def test_the_key_that_is_given_is_the_one_and_none_is_made(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    assert kept.rekey(*WHY, "--identity-key", NEW.decode()) == 0
    assert (kept.knows(NEW), kept.knows(OLD)) == (True, False)
    assert not key_path(kept.path).exists()
    capsys.readouterr()
    assert kept.rekey("--identity-key", NEW.decode()) == 0
    assert "there is nothing to do" in capsys.readouterr().out


def test_a_key_that_lies_beside_the_store_is_taken_as_it_is(kept: Kept) -> None:
    key_path(kept.path).write_text(NEW.hex())
    assert kept.rekey(*WHY) == 0
    assert kept.knows(NEW)
    assert key_path(kept.path).read_text() == NEW.hex()


def test_of_a_store_that_knows_no_key_it_is_not_said_that_all_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Kept(tmp_path)
    assert kept.knows(OLD) is None
    assert kept.rekey("--identity-key", OLD.decode()) == 1
    said = capsys.readouterr().out
    assert "knows no key yet: under the one of --identity-key nothing is lost, if it was written under that" in said
    assert kept.knows(OLD) is None
    assert kept.rekey(*WHY, "--identity-key", OLD.decode()) == 0
    assert kept.knows(OLD)


def test_a_key_file_that_was_cut_off_says_how_to_go_on(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    key_path(kept.path).write_text("")
    assert kept.rekey() == 2
    assert "move it away, and see `strangler store rekey`" in capsys.readouterr().err
