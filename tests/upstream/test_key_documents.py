"""Keys of token issuers, fetched over real sockets and read from files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from strangler.ports import MAX_KEYS, KeysUnavailable
from strangler.upstream import Caller, PublishedKeys, key_documents
from tests.front.raw import RawUpstream
from tests.harness.waiting import free_port


@pytest.fixture
async def keys() -> AsyncIterator[PublishedKeys]:
    caller = Caller(max_head=64 * 1024)
    yield PublishedKeys(caller)
    caller.close()


async def answered(keys: PublishedKeys, issuer: RawUpstream, answer: bytes, path: str = "/keys?v=1") -> bytes:
    """What is fetched when the issuer answers this."""
    fetch = asyncio.create_task(keys.fetch(f"http://127.0.0.1:{issuer.port}{path}"))
    end = await issuer.accept()
    await end.head()
    end.send(answer)
    return await fetch


async def test_keys_are_asked_for_as_a_client_does(keys: PublishedKeys) -> None:
    async with RawUpstream() as issuer:
        fetch = asyncio.create_task(keys.fetch(f"http://127.0.0.1:{issuer.port}/keys?v=1"))
        end = await issuer.accept()
        first, *lines = (await end.head()).split(b"\r\n")
        assert first == b"GET /keys?v=1 HTTP/1.1"
        assert f"Host: 127.0.0.1:{issuer.port}".encode() in lines
        assert b"Accept-Encoding: identity" in lines
        end.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert await fetch == b"abcde"


async def test_a_place_without_a_path_is_its_root(keys: PublishedKeys) -> None:
    async with RawUpstream() as issuer:
        fetch = asyncio.create_task(keys.fetch(f"http://127.0.0.1:{issuer.port}"))
        end = await issuer.accept()
        assert (await end.head()).startswith(b"GET / HTTP/1.1\r\n")
        end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert await fetch == b""


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "the answer was 302"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "the answer was 500"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * (MAX_KEYS + 1), f"longer than {MAX_KEYS}"),
        (b"SSH-2.0-OpenSSH\r\n", "not well formed"),
    ],
)
async def test_what_is_no_answer_is_no_keys(keys: PublishedKeys, answer: bytes, reason: str) -> None:
    async with RawUpstream() as issuer:
        with pytest.raises(KeysUnavailable, match=reason):
            await answered(keys, issuer, answer)


async def test_an_issuer_that_is_down_has_no_keys(keys: PublishedKeys) -> None:
    with pytest.raises(KeysUnavailable, match="refused"):
        await keys.fetch(f"http://127.0.0.1:{free_port()}/keys")


async def test_an_issuer_that_says_nothing_is_not_waited_for_long(
    keys: PublishedKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_documents, "TIMEOUT", 0.05)
    async with RawUpstream() as issuer:
        with pytest.raises(KeysUnavailable, match=r"no (complete )?(answer|reply) within 0.05 s"):
            await keys.fetch(f"http://127.0.0.1:{issuer.port}/keys")


async def test_keys_can_lie_in_a_file(keys: PublishedKeys, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(b"{}")
    assert await keys.fetch(str(tmp_path / "keys.json")) == b"{}"
    with pytest.raises(KeysUnavailable, match="No such file"):
        await keys.fetch(str(tmp_path / "none.json"))
    (tmp_path / "keys.json").write_bytes(b"x" * (MAX_KEYS + 1))
    with pytest.raises(KeysUnavailable, match="longer"):
        await keys.fetch(str(tmp_path / "keys.json"))
