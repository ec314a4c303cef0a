"""The floor under `bench accepts`: the least that an honest durable acceptance costs in this Python.

``python -m bench.floor`` serves the same requests three ways, each behind the front of strangler, and prints the CPU of
one: with a plain answer; with the rows of an acceptance on disk before the answer, and nothing else, no policy, no
check, no forwarding field, no queue and no count; and as strangler does it.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

from bench.accepts import checked
from bench.dataplane import telemetry
from bench.machine import SERVER_CORE, Program, python
from bench.report import median
from bench.subject import Strangler, directory, submission, upstream
from strangler.config.system import SystemClock, SystemIds
from strangler.domain.exchange import Answer, Request
from strangler.front.listener import Front
from strangler.ports import Direction, Handle
from strangler.runtime.collector import calm_collector
from strangler.runtime.loops import loop_factory
from strangler.store.ids import id_bytes
from strangler.store.open import open_store
from strangler.store.sealing import AesGcmSealer
from strangler.store.sqlite import statements as sql
from strangler.store.sqlite.packing import pack_headers
from strangler.store.sqlite.rows import Written
from strangler.store.sqlite.statements import NULL, Row
from strangler.store.sqlite.store import SqliteStore
from tests.harness.waiting import free_port

ROUNDS, SECONDS = 5, 2.0
DAY = 86_400_000
USUAL = dict.fromkeys(sql.ACCEPT_USUAL.columns, NULL) | {
    "route": "submit-claim",
    "type": "submit-claim",
    "promise": "a" * 64,
    "base": "http://127.0.0.1:8080",
    "resource": "/processes",
    "method": "POST",
    "retain": 30 * DAY,
    "promised": 1,
    "key_life": 0,
    "state": "received",
    "version": 1,
    "sequence": 1,
    "fence": 0,
    "tries": 0,
    "attempts": 0,
    "revision": "b" * 64,
}
ORDERED = tuple(USUAL.values())
CREATED, BODY_SIZE, STATE = (sql.ACCEPT_USUAL.columns.index(name) for name in ("created_at", "body_size", "state"))
CORRELATION = sql.ACCEPT_USUAL.columns.index("correlation_id")
EVENT = '{"id":"%s","sequence":1,"version":1,"at":%d,"transition":"Accept","from":null,"to":"received","set":{%s}}'
SET = ",".join(f'"{name}":"{value}"' for name, value in USUAL.items() if isinstance(value, str))
PAYLOAD = '{"id":"%s","route":"submit-claim","state":"received","version":1,"at":%d}'
DOCUMENT = b'{"id":"%b","type":"submit-claim","state":"received","status":"RECEIVED","version":1,"at":%d}'


def rows_of(process_id: str, now: int, request: Request, data: bytes) -> Written:
    """The rows of an acceptance: process, request, event and outbox."""
    key = id_bytes(process_id)
    text = EVENT % (process_id, now, SET)
    digest = hashlib.sha256(text.encode()).digest()
    head = bytearray(digest)
    process = (
        *(key, *ORDERED[1:CORRELATION], process_id, now, now + DAY, *ORDERED[CREATED + 2 : BODY_SIZE]),
        *(len(data), *ORDERED[BODY_SIZE + 1 : STATE], "received", 1, 1, head, now, now, *ORDERED[STATE + 6 :]),
    )
    headers, sum_ = pack_headers(request.headers), bytearray(hashlib.sha256(data).digest())
    kept: Row = (key, request.method, bytearray(request.target), headers, len(data), sum_, bytearray(data))
    event: Row = (key, 1, 1, now, text, head)
    told: Row = (head[:16], "process", key, "submit-claim.received", PAYLOAD % (process_id, now), now)
    rows = [(sql.ACCEPT_USUAL, process), (sql.REQUEST, kept), (sql.EVENT, event), (sql.OUTBOX, told)]
    return Written(rows, key, None, False, None, (process_id,), 4096)


def recording(store: SqliteStore) -> Callable[[Request], Awaitable[Answer]]:
    """A handler that writes a request to disk, and answers then."""
    clock, ids = SystemClock(), SystemIds()

    async def respond(request: Request) -> Answer:
        data, now = await request.body.read(), clock.now()
        process_id = ids.process_id(now)
        await store.submit(rows_of(process_id, now, request, data))
        name = process_id.encode()
        headers = [(b"Content-Type", b"application/json"), (b"Location", b"http://127.0.0.1/processes/" + name)]
        return Answer(202, headers, DOCUMENT % (name, now))

    return respond


async def serve(port: int, store: Path | None) -> None:
    """Answer for ever; ``store``: where requests are recorded before, None: not at all."""
    plain: Direction = Answer(202, [(b"Content-Type", b"application/json")], b"{}")
    if store is not None:
        opened = open_store(f"sqlite:///{store}", AesGcmSealer(b"k" * 32), SystemClock())
        plain = Handle(recording(cast(SqliteStore, opened)))
    await Front(lambda request: plain, cast(Any, None), telemetry()).listen(socket.create_server(("127.0.0.1", port)))
    calm_collector()
    await asyncio.Event().wait()


def served(path: Path | None) -> Program:
    """This file as a server, on the server's core."""
    port = free_port()
    command = python("bench.floor", str(port), *([str(path / "floor.db")] if path is not None else []))
    return Program("floor", command, port, SERVER_CORE)


def main() -> None:
    """Measure, all ways in turn."""
    with ExitStack() as stack:
        folder = stack.enter_context(directory())
        legacy = stack.enter_context(upstream("never"))
        ways = {
            "a plain answer": stack.enter_context(served(None)),
            "its rows on disk first": stack.enter_context(served(folder)),
            "strangler": stack.enter_context(Strangler(folder, legacy.port)),
        }
        costs: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, program in ways.items():
                costs[name].append(checked(program.load([submission()], seconds=SECONDS), "202").cpu)
    for name, found in costs.items():
        print(f"{median(found):6.0f} us ({min(found):.0f}-{max(found):.0f})  {name}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(serve(int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
    else:
        main()
