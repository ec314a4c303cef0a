"""The body of a request between the client that sends it and the handler that reads it."""

from __future__ import annotations

import asyncio

from strangler.front.body import HELD, RequestBody


class Client:
    """Notes what the body has it do."""

    def __init__(self) -> None:
        self.told: list[bytes | str | float | None] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")

    def watch(self, timeout: float | None) -> None:
        self.told.append(timeout)


async def read_later(body: RequestBody, data: bytes) -> bytes:
    """What a read gets that waits for this."""
    read = asyncio.get_running_loop().create_task(body.read())
    while not body.awaited:
        await asyncio.sleep(0)
    body.put(data, False)
    return await read


async def test_a_client_is_told_to_go_on_once_and_only_while_nothing_of_the_body_has_come() -> None:
    body = RequestBody(client := Client(), None, expected=True)
    assert body.still_expected
    assert await read_later(body, b"a") == b"a"
    assert not body.still_expected
    assert await read_later(body, b"b") == b"b"
    assert client.told == [b"HTTP/1.1 100 Continue\r\n\r\n", "resume", "resume"]
    body = RequestBody(client := Client(), None, expected=True)
    body.put(b"a", False)
    assert not body.still_expected
    assert await body.read() == b"a"
    assert await read_later(body, b"b") == b"b"
    assert client.told == ["resume"]


async def test_a_client_has_a_deadline_for_as_long_as_a_read_waits() -> None:
    body = RequestBody(client := Client(), 30.0, expected=False)
    body.put(b"a", False)
    assert await body.read() == b"a"
    assert client.told == []
    assert await read_later(body, b"b") == b"b"
    assert client.told == ["resume", 30.0, None]


async def test_a_client_waits_while_more_is_held_than_may_be() -> None:
    body = RequestBody(client := Client(), None, expected=False)
    for _ in range(2):
        body.put(b"x" * HELD, False)
        assert client.told == []
        body.put(b"y", False)
        assert client.told == ["pause"]
        assert await body.read() == b"x" * HELD + b"y"
        client.told.clear()
