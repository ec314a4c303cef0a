"""Asking the system for the addresses of a name."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from typing import Any

import pytest

from strangler.channels.callbacks.lookup import SystemLookup


async def test_the_addresses_of_a_name_come_each_once() -> None:
    found = await SystemLookup().addresses("localhost", 443)
    assert "127.0.0.1" in found
    assert len(found) == len(set(found))


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "127.0.0.1.", "[::1]"])
async def test_what_has_no_address_says_so(host: str) -> None:
    with pytest.raises(OSError) as raised:
        await SystemLookup().addresses(host, 443)
    assert isinstance(raised.value, socket.gaierror)


async def test_a_silent_name_keeps_no_other_one_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    answering = threading.Event()
    ended = threading.Event()

    def slow(host: str, *_: Any, **__: Any) -> list[Any]:
        if host == "silent.example":
            answering.wait(10)
            ended.set()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    lookup = SystemLookup()
    silent = [asyncio.create_task(lookup.addresses("silent.example", 443)) for _ in range(20)]
    assert await lookup.addresses("quick.example", 443) == ("192.0.2.1",)
    for task in silent[1:]:
        task.cancel()
    answering.set()
    assert await silent[0] == ("192.0.2.1",)
    # What comes for those who do not wait any more is dropped.
    assert await asyncio.to_thread(ended.wait, 10)


def test_an_answer_after_the_loop_is_closed_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    answering, asked = threading.Event(), threading.Event()
    failures: list[object] = []

    def slow(*_: Any, **__: Any) -> list[Any]:
        asked.set()
        answering.wait(10)
        return []

    async def leave() -> None:
        task = asyncio.create_task(SystemLookup().addresses("silent.example", 443))
        await asyncio.to_thread(asked.wait, 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(threading, "excepthook", failures.append)
    others = set(threading.enumerate())  # another test's may still be on their way
    asyncio.run(leave())
    (thread,) = (one for one in set(threading.enumerate()) - others if one.name == "callback-lookup")
    answering.set()
    thread.join(10)
    assert failures == []


async def test_without_a_thread_it_is_our_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    with pytest.raises(OSError) as raised:
        await SystemLookup().addresses("localhost", 443)
    assert raised.value.errno == errno.EAGAIN
