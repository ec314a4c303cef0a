"""Following a process without a socket: event streams read piece by piece, and a WebSocket client on the other side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple, Self

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, Pong, TextMessage

from strangler.domain.exchange import Answer, Header, Upgrade
from strangler.domain.process import Process
from strangler.policy.match import ResourcePath
from tests.gateway.scene import ALICE, R, Scene, a_request

HANDSHAKE: tuple[Header, ...] = (
    (b"Connection", b"keep-alive, Upgrade"),
    (b"Upgrade", b"websocket"),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
)


class Seen(NamedTuple):
    """One event of a stream."""

    id: str | None
    event: str
    data: dict[str, Any]

    @property
    def version(self) -> int:
        return int(self.data["version"])


class Reader:
    """Reads an event stream as a browser does, and counts comments."""

    def __init__(self, answer: Answer) -> None:
        assert answer.status == 200, answer.body
        assert not isinstance(answer.body, bytes)
        body: Any = answer.body
        self._body: AsyncGenerator[bytes] = body
        self._waiting: list[Seen] = []
        self.retry: int | None = None
        self.comments = 0
        self.last_id: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._body.aclose()

    async def next(self) -> Seen | None:
        """The next event; None at the end of the stream."""
        while not self._waiting:
            try:
                self._take(await anext(self._body))
            except StopAsyncIteration:
                return None
        return self._waiting.pop(0)

    async def rest(self) -> list[Seen]:
        """All events to the end."""
        found = []
        while (seen := await self.next()) is not None:
            found.append(seen)
        return found

    async def comment(self) -> None:
        """The next piece, which is a comment."""
        before = self.comments
        self._take(await anext(self._body))
        assert (self.comments, self._waiting) == (before + 1, [])

    async def settled(self) -> None:
        """The next piece that says where to go on, and nothing else."""
        before = self.last_id
        while self.last_id == before:
            self._take(await anext(self._body))
        assert not self._waiting

    def _take(self, piece: bytes) -> None:
        fields: dict[str, str] = {}
        for line in piece.decode().split("\n")[:-1]:
            name, _, value = line.partition(": ")
            if line == ":":
                self.comments += 1
            elif name == "retry":
                self.retry = int(value)
            elif line:
                assert name in ("id", "event", "data"), line
                fields[name] = value
            else:
                self.last_id = fields.get("id", self.last_id)
                if fields.keys() == {"id"}:
                    fields = {}
                    continue
                self._waiting.append(Seen(fields.get("id"), fields["event"], json.loads(fields["data"])))
                fields = {}
        assert not fields, "an event was cut"


async def events(scene: Scene, process: Process, *headers: Header, last: str | None = None, query: str = "") -> Answer:
    """What a request for the stream of a process is answered."""
    known = ((b"Last-Event-ID", last.encode()),) if last is not None else ()
    return await scene.ask("GET", process, "/events", *(headers or (ALICE,)), *known, query=query)


async def all_events(scene: Scene, *headers: Header, last: str | None = None) -> Answer:
    """What a request for the stream of all processes of a caller is answered."""
    known = ((b"Last-Event-ID", last.encode()),) if last is not None else ()
    request = a_request("GET", f"{R}/events", *(headers or (ALICE,)), *known)
    answer = await scene.resources.respond(request, ResourcePath(R, None, b"/events"))
    assert isinstance(answer, Answer)
    return answer


class Line:
    """A client with a WebSocket of its own: a `Channel` at our end of it."""

    def __init__(self) -> None:
        self._client = Connection(ConnectionType.CLIENT)
        self._to_server: asyncio.Queue[bytes] = asyncio.Queue()
        self._to_client: asyncio.Queue[Event] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None
        self.mute = False

    async def read(self) -> bytes:
        return await self._to_server.get()

    async def write(self, data: bytes) -> None:
        self._client.receive_data(data)
        for event in self._client.events():
            if isinstance(event, Ping) and not self.mute:
                self.send(event.response())
            self._to_client.put_nowait(event)

    def hang_up(self) -> None:
        self._to_server.put_nowait(b"")

    def converse(self, upgrade: Upgrade) -> None:
        assert upgrade.protocol == b"websocket"
        self.task = asyncio.get_running_loop().create_task(upgrade.converse(self))

    def send(self, event: Message | Ping | Pong | CloseConnection) -> None:
        self.send_bytes(self._client.send(event))

    def send_bytes(self, data: bytes) -> None:
        self._to_server.put_nowait(data)

    def say(self, message: str | bytes) -> None:
        self.send(TextMessage(message) if isinstance(message, str) else BytesMessage(message))

    async def frame(self) -> Event:
        """The next frame, whatever it is."""
        return await asyncio.wait_for(self._to_client.get(), 1000)

    async def message(self) -> dict[str, Any]:
        """The next message, between pings and pongs."""
        while isinstance(event := await self.frame(), Ping | Pong):
            pass
        assert isinstance(event, TextMessage), event
        content: dict[str, Any] = json.loads(event.data)
        return content

    async def closed(self) -> int:
        """The code with which the server closes, and its end once that was answered."""
        while not isinstance(event := await self.frame(), CloseConnection):
            assert isinstance(event, Ping | Pong), event
        self.send(event.response())
        await self.ended()
        return int(event.code)

    async def ended(self) -> None:
        """The end of the conversation; raises what went wrong in it."""
        assert self.task is not None
        await asyncio.wait_for(self.task, 1000)


async def ask_socket(
    scene: Scene, process: Process, *headers: Header, query: str = "", handshake: tuple[Header, ...] = HANDSHAKE
) -> Answer | Upgrade:
    """What a request for the socket of a process is answered."""
    request = a_request("GET", f"{R}/{process.id}/socket{query}", *(headers or (ALICE,)), *handshake)
    return await scene.resources.respond(request, ResourcePath(R, process.id, b"/socket"))


async def connect(scene: Scene, process: Process, *headers: Header, query: str = "") -> Line:
    """A client that follows a process by its socket."""
    upgrade = await ask_socket(scene, process, *headers, query=query)
    assert isinstance(upgrade, Upgrade), upgrade
    line = Line()
    line.converse(upgrade)
    return line
