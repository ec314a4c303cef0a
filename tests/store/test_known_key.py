"""A store knows the identity key that it was written under, and tells another one from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from strangler.domain.errors import OperatorError
from strangler.store.known_key import adopt, is_known, require_known
from strangler.store.open import open_store
from strangler.store.sealing import KEY_BYTES, AesGcmSealer, key_path, load_identity_key
from tests.store.builders import FakeClock

OLD, NEW = b"o" * KEY_BYTES, b"n" * KEY_BYTES


@pytest.mark.parametrize("url", ["memory:", "sqlite:///{}/store.db"])
async def test_the_key_of_the_first_start_is_the_one_that_is_known_until_another_one_is_adopted(
    url: str, tmp_path: Path
) -> None:
    store = open_store(url.format(tmp_path), AesGcmSealer(OLD), FakeClock())
    assert await is_known(store, OLD) is None
    await require_known(store, store.location, OLD)
    await require_known(store, store.location, OLD)
    with pytest.raises(
        OperatorError, match=r"was written under another identity key.*`strangler store rekey`"
    ) as error:
        await require_known(store, store.location, NEW)
    assert str(error.value).startswith(store.location)
    assert (await is_known(store, OLD), await is_known(store, NEW)) == (True, False)
    await adopt(store, NEW)
    await require_known(store, store.location, NEW)
    with pytest.raises(OperatorError):
        await require_known(store, store.location, OLD)
    await store.close()


async def test_what_lies_in_the_store_is_neither_the_key_nor_anything_that_it_is_used_for(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/store.db", AesGcmSealer(OLD), FakeClock())
    await require_known(store, store.location, OLD)
    ((name, value),) = (await store.load("identity")).items()
    await store.close()
    assert (name, len(value)) == ("key", 64)
    for file in tmp_path.iterdir():
        assert OLD not in file.read_bytes()
        assert OLD.hex().encode() not in file.read_bytes()


def test_a_missing_key_is_made_for_a_store_that_is_there_where_somebody_says_so(tmp_path: Path) -> None:
    store = tmp_path / "s.db"
    store.write_bytes(b"SQLite format 3\0")
    key = load_identity_key(None, store, anew=True)
    assert load_identity_key(None, store) == load_identity_key(None, store, anew=True) == key
    assert key_path(store).exists()
