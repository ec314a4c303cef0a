"""The line between the supervisor and its children carries long words whole."""

from __future__ import annotations

import asyncio
import socket

import pytest

from strangler.runtime.control import Line
from tests.harness.stage import Stage


def a_line() -> tuple[Line, Line]:
    """Both of its ends."""
    one, other = socket.socketpair()
    return Line(one), Line(other)


async def test_last_words_arrive_whole_however_long_they_are() -> None:
    ours, theirs = a_line()
    words = "a finding " * 200_000
    said = asyncio.create_task(asyncio.to_thread(theirs.tell_whole, failed=words))
    heard = None
    async with asyncio.timeout(30):
        while not heard:
            heard = ours.read()
            await asyncio.sleep(0)
    assert heard == [{"failed": words}]
    await said
    theirs.close()
    assert ours.read() is None
    ours.close()


async def test_last_words_to_nobody_are_given_up() -> None:
    ours, theirs = a_line()
    ours.close()
    theirs.tell_whole(failed="a finding")
    theirs.close()


async def test_what_was_said_before_the_end_is_read_at_once() -> None:
    ours, theirs = a_line()
    words = "a finding " * 7_000  # more than is taken in one piece
    theirs.tell(failed=words)
    theirs.close()
    assert ours.read() == [{"failed": words}]
    assert ours.read() is None
    ours.close()


@pytest.mark.parametrize("findings", [1_000, 5_000])
async def test_all_that_is_wrong_with_a_policy_is_told_when_workers_do_not_start(stage: Stage, findings: int) -> None:
    routes = "".join(
        f"  - {{name: r{number}, match: {{path: /{number}}}, upstream: gone}}\n" for number in range(findings)
    )
    policy = "upstreams: {legacy: {url: 'http://127.0.0.1:9'}}\nroutes:\n" + routes
    server = stage.server(policy, options=["--workers", "2"])
    server.launch()
    assert await server.ended(60) == 2
    told = server.log.read_text()
    assert [number for number in range(findings) if f"routes[{number}]" not in told] == []
