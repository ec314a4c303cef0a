"""A translated exchange against the same one untranslated, 2 KiB each way.

As a program, ``python -m bench.translation PORT``, it is the upstream: a SOAP message for a request on ``/soap``, JSON
for any other.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.accepts import checked
from bench.machine import LOAD_CORE, Program, python
from bench.report import Pair, Row, Settings, compared, mebibytes
from bench.subject import Strangler, directory
from tests.harness.waiting import free_port

POLICY = """
upstreams: {{legacy: {{url: "http://127.0.0.1:{upstream}"}}}}
route_defaults: {{upstream: legacy, mode: compat, call: {{concurrency: 64}}}}
routes:
  - {{name: plain-json, match: {{path: /plain/json}}}}
  - {{name: plain-soap, match: {{path: /plain/soap}}, rewrite: {{strip_prefix: /plain}}}}
  - name: json
    match: {{path: /json}}
    translate:
      request:
        body: {{polnr: body.policyNumber, pos: "body.positions[].{{bez: name, menge: quantity, preis: price}}"}}
      response: {{body: {{status: reply.body.status, positions: "reply.body.pos[].{{name: bez, price: preis}}"}}}}
    outcome: [{{when: {{body: "status == 'NO'"}}, state: rejected}}]
  - name: soap
    match: {{path: /soap}}
    translate:
      request:
        format: soap
        body:
          Anlegen:
            POLNR: body.policyNumber
            POS: "body.positions[].{{BEZ: name, MENGE: quantity, PREIS: price}}"
      response:
        body:
          status: reply.body.Antwort.STATUS
          positions: "reply.body.Antwort.POS[].{{name: BEZ, price: PREIS}}"
    outcome: [{{when: {{body: "Antwort.STATUS == 'NO'"}}, state: rejected}}]
"""

_POSITIONS = [{"name": f"position number {n:04d}", "quantity": n, "price": n * 1.5} for n in range(33)]
_REQUEST = json.dumps({"policyNumber": "P-4711", "positions": _POSITIONS}).encode()
_JSON = json.dumps(
    {"status": "OK", "pos": [{"bez": f"position number {n:04d}", "menge": n, "preis": n * 1.5} for n in range(33)]}
).encode()
_SOAP = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><Antwort><STATUS>OK</STATUS>'
    + "".join(
        f"<POS><BEZ>position number {n:04d}</BEZ><MENGE>{n}</MENGE><PREIS>{n * 1.5}</PREIS></POS>" for n in range(24)
    )
    + "</Antwort></s:Body></s:Envelope>"
).encode()
AT_LEAST = {"json": 0.7, "soap": 0.5}


class Translating(Strangler):
    """`strangler serve` over the policy above."""

    def __init__(self, path: Path, upstream: int) -> None:
        super().__init__(path, upstream)
        (path / "routes.yaml").write_text(POLICY.format(upstream=upstream))


def translation(settings: Settings) -> list[Row]:
    """Recorded synchronous calls: translated both ways, with a rule on the body, against the same untranslated."""
    rows = []
    with ExitStack() as stack:
        path = stack.enter_context(directory())
        port = free_port()
        stack.enter_context(Program("upstream", python("bench.translation", str(port)), port, LOAD_CORE))
        strangler = Translating(path, port)
        stack.enter_context(strangler)
        for form, target in AT_LEAST.items():
            pair = Pair()
            for _ in range(settings.rounds):
                seen = [
                    checked(strangler.load([_submission(way)], connections=32, seconds=settings.seconds), "200")
                    for way in (f"/{form}", f"/plain/{form}")
                ]
                pair.add(*seen)
            what = f"2 KiB of {form.upper()} each way, translated"
            memory = mebibytes(strangler.peak())
            rows.append(compared(what, pair.ours, pair.theirs, target, memory, pair.cpu()))
    return rows


def _submission(path: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(_REQUEST)}\r\n\r\n"
    )
    return head.encode() + _REQUEST


class _Upstream(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def __init__(self) -> None:
        self.buffer = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if not end or len(body) < length:
            return
        self.buffer = b""
        soap = head.startswith(b"POST /soap")
        reply = _SOAP if soap else _JSON
        kind = b"text/xml" if soap else b"application/json"
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (kind, len(reply), reply)
        )


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Upstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
