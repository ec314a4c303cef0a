"""Requests that are begun without a task, and answered when it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from strangler.domain.exchange import Answer, PassOn, Request
from strangler.ports import Begin, Handle, Said
from tests.front.scene import Scene, Waits

POST = b"POST /ours HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"


async def echo(request: Request) -> Answer:
    return Answer(200, [], await request.body.read())


async def never(request: Request) -> Answer:
    raise AssertionError("it was begun")


class Beginner:
    """Begins, and keeps what it is given."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[tuple[bytes, Callable[[Said], None]]] = asyncio.Queue()

    def __call__(self, request: Request, data: bytes, tell: Callable[[Said], None]) -> bool:
        self.begun.put_nowait((data, tell))
        return True


def ours(scene: Scene, begin: Begin, respond: Callable[[Request], object] = never) -> None:
    scene.ours[b"/ours"] = Handle(respond, scene.way, "ours", begin)  # type: ignore[arg-type]


async def test_the_answer_goes_out_when_it_is_told_and_the_next_request_follows() -> None:
    async with Scene() as scene:
        ours(scene, beginner := Beginner())
        client = await scene.send(POST + POST.replace(b"hello", b"again"))
        for body in (b"hello", b"again"):
            data, tell = await beginner.begun.get()
            assert data == body
            assert beginner.begun.empty()
            tell(lambda body=body: Answer(202, [], body))  # type: ignore[misc]
            reply = await client.reply()
            assert (reply.status, reply.body) == (202, body)


async def test_a_request_without_a_body_is_begun_with_none() -> None:
    async with Scene() as scene:
        ours(scene, beginner := Beginner())
        client = await scene.send(b"DELETE /ours HTTP/1.1\r\nHost: h\r\n\r\n")
        data, tell = await beginner.begun.get()
        assert data == b""
        tell(lambda: Answer(204))
        assert (await client.reply()).status == 204


async def test_what_was_not_begun_is_answered_by_who_responds() -> None:
    async with Scene() as scene:
        ours(scene, lambda request, data, tell: False, echo)
        client = await scene.send(POST)
        assert (await client.reply()).body == b"hello"


async def test_what_is_chunked_is_not_begun() -> None:
    async with Scene() as scene:
        ours(scene, Beginner(), echo)
        client = await scene.send(
            b"POST /ours HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        )
        assert (await client.reply()).body == b"hello"


async def test_what_is_not_all_there_is_not_begun() -> None:
    read: asyncio.Queue[bytes] = asyncio.Queue()

    async def reads(request: Request) -> Answer:
        while data := await request.body.read():
            read.put_nowait(data)
        return Answer(204)

    async with Scene() as scene:
        ours(scene, Beginner(), reads)
        client = await scene.send(POST[:-2])
        assert await read.get() == b"hel"
        client.send(POST[-2:])
        assert await read.get() == b"lo"
        assert (await client.reply()).status == 204


@pytest.mark.parametrize("passes", [False, True])
async def test_who_is_said_to_answer_gets_the_body_and_may_pass_it_on(passes: bool) -> None:
    async def answers(request: Request) -> Answer | PassOn:
        return PassOn() if passes else Answer(200, [], await request.body.read())

    async with Scene() as scene:
        ours(scene, beginner := Beginner())
        client = await scene.send(POST)
        _, tell = await beginner.begun.get()
        tell(lambda: answers)
        if passes:
            upstream = await scene.legacy.accept()
            await upstream.head()
            assert await upstream.exactly(5) == b"hello"
        else:
            assert (await client.reply()).body == b"hello"


async def test_a_client_that_leaves_cancels_who_is_said_to_answer() -> None:
    async with Scene() as scene:
        ours(scene, beginner := Beginner())
        client = await scene.send(POST)
        _, tell = await beginner.begun.get()
        waits = Waits()
        tell(lambda: waits)
        await waits.waiting.wait()
        client.close()
        await asyncio.wait_for(waits.cancelled.wait(), 5)


async def test_to_a_client_that_left_nothing_is_said() -> None:
    async with Scene() as scene:
        ours(scene, beginner := Beginner())
        client = await scene.send(POST)
        _, tell = await beginner.begun.get()
        client.close()
        while scene.front.connections:
            await asyncio.sleep(0)
        tell(lambda: pytest.fail("it left"))


async def test_a_defect_at_the_beginning_and_one_at_the_end_are_each_answered() -> None:
    late: list[Callable[[Said], None]] = []

    def broken(request: Request, data: bytes, tell: Callable[[Said], None]) -> bool:
        late.append(tell)
        raise ValueError("a defect")

    def breaks() -> Answer:
        raise ValueError("a defect")

    async with Scene() as scene:
        ours(scene, broken)
        assert (await (await scene.send(POST)).reply()).status == 500
        late[0](lambda: pytest.fail("it is answered"))
        ours(scene, beginner := Beginner())
        client = await scene.send(POST)
        _, tell = await beginner.begun.get()
        tell(breaks)
        assert (await client.reply()).status == 500
        assert [type(error) for error in scene.told.failures] == [ValueError, ValueError]
        assert [code for _, code in scene.told.refusals] == ["internal-error"] * 2
        assert scene.told.lines == [("POST", b"/ours", "ours", 500, "internal-error")] * 2
        scene.told.failures.clear()
