"""The legacy insurer: a synchronous WSGI application on a pool of threads, slow where it works and unaware of retries.

    python -m strangler.demo.legacy --database insurer.db

====================== ============================================================================================
POST /claims           registers a claim after 3 to 20 s, the longer the more it is about: 3 s and one for every 1,000
GET /claims            all claims, with duplicates named, and how many are being assessed
GET /claims/{number}   one claim
GET /documents/{id}    a PDF of 5 MiB, after 4 s
GET /policies/{number} a policy, at once
====================== ============================================================================================

It is a system as they are: a client that gives up does not stop it, and what is sent twice is done twice.
"""

from __future__ import annotations

import argparse
import json
import signal
import socketserver
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from strangler.demo.document import policy_document
from strangler.demo.register import Claim, Register

THREADS = 16
DOCUMENT_SECONDS = 4.0
REFUSAL_SECONDS = 1.0
BLOCK = 64 * 1024
MAX_BODY = 1024 * 1024

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class Reply(NamedTuple):
    """What the application answers."""

    status: str
    content_type: str
    body: bytes
    location: str | None = None


class Stopping(Exception):
    """The system is going down while a request is being worked on."""


class Insurer:
    """The application. ``speed`` divides every working time; `stop` ends the work under way without its effect."""

    def __init__(self, register: Register, speed: float = 1.0) -> None:
        self._register = register
        self._speed = speed
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._in_assessment = 0

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request, on the thread that it came on."""
        try:
            reply = self._answer(environ)
        except Stopping:
            reply = _said("503 Service Unavailable", "the system is going down")
        headers = [("Content-Type", reply.content_type), ("Content-Length", str(len(reply.body)))]
        if reply.location is not None:
            headers.append(("Location", reply.location))
        start_response(reply.status, headers)
        return _blocks(reply.body) if environ["REQUEST_METHOD"] != "HEAD" else []

    def stop(self) -> None:
        """Let no more work take effect."""
        self._stopping.set()

    def _answer(self, environ: Environ) -> Reply:
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        collection, _, name = path.strip("/").partition("/")
        match (method, collection, name):
            case ("POST", "claims", ""):
                return self._submit(environ)
            case ("GET" | "HEAD", "claims", ""):
                return self._list()
            case ("GET" | "HEAD", "claims", number):
                claim = self._register.claim(number)
                return _json("200 OK", _shown(claim)) if claim else _said("404 Not Found", "no such claim")
            case ("GET" | "HEAD", "policies", number) if policy := self._register.policy(number):
                return _json("200 OK", policy._asdict())
            case ("GET" | "HEAD", "documents", name) if name:
                self._work(DOCUMENT_SECONDS)
                return Reply("200 OK", "application/pdf", policy_document(unquote(name)))
            case ("GET" | "HEAD", _, _):
                return _said("404 Not Found", "nothing is here")
            case _:
                return _said("405 Method Not Allowed", "this is not done here")

    def _submit(self, environ: Environ) -> Reply:
        try:
            policy, amount, description = _claim_form(_body(environ))
        except ValueError as error:
            return _said("400 Bad Request", str(error))
        if self._register.policy(policy) is None:
            self._work(REFUSAL_SECONDS)
            return _said("422 Unprocessable Content", f"there is no policy {policy}")
        with self._assessing():
            self._work(assessment_seconds(amount))
            claim = self._register.add(policy, amount, description)
        return _json("201 Created", _shown(claim), location=f"/claims/{claim.number}")

    def _list(self) -> Reply:
        with self._lock:
            in_assessment = self._in_assessment
        claims = [_shown(claim) for claim in self._register.claims()]
        return _json("200 OK", {"claims": claims, "inAssessment": in_assessment})

    @contextmanager
    def _assessing(self) -> Iterator[None]:
        with self._lock:
            self._in_assessment += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_assessment -= 1

    def _work(self, seconds: float) -> None:
        if self._stopping.wait(seconds / self._speed):
            raise Stopping


def assessment_seconds(amount: int) -> float:
    """How long a claim over ``amount`` euros is assessed, at the usual speed."""
    return min(3.0 + amount / 1000, 20.0)


def _claim_form(body: bytes) -> tuple[str, int, str]:
    """Policy number, amount and description of a claim that was handed in.

    Raises:
        ValueError: it is not one.
    """
    try:
        form = json.loads(body)
        policy, amount, description = form["policyNumber"], form["amount"], form.get("description", "")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("a claim is JSON with policyNumber, amount and description") from None
    if not isinstance(policy, str) or not isinstance(description, str):
        raise ValueError("policyNumber and description are text")
    if not isinstance(amount, int) or isinstance(amount, bool) or not 0 <= amount < 10**9:
        raise ValueError("amount is in whole euros")
    return policy, amount, description


def _body(environ: Environ) -> bytes:
    length = environ.get("CONTENT_LENGTH") or "0"
    if environ.get("HTTP_TRANSFER_ENCODING") or not length.isdigit() or int(length) > MAX_BODY:
        raise ValueError(f"a body has a Content-Length of at most {MAX_BODY}")
    data: bytes = environ["wsgi.input"].read(int(length))
    return data


def _shown(claim: Claim) -> dict[str, Any]:
    shown = {
        "claimNumber": claim.number,
        "policyNumber": claim.policy,
        "amount": claim.amount,
        "description": claim.description,
        "registeredAt": claim.registered_at,
        "status": "REGISTERED",
    }
    if claim.duplicate_of is not None:
        shown.update(status="DUPLICATE", duplicateOf=claim.duplicate_of)
    return shown


def _json(status: str, value: object, location: str | None = None) -> Reply:
    return Reply(status, "application/json", json.dumps(value).encode(), location)


def _said(status: str, text: str) -> Reply:
    return _json(status, {"message": text})


def _blocks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), BLOCK):
        yield body[start : start + BLOCK]


class Server(WSGIServer):
    """wsgiref's server with a pool of threads: who comes when all are busy waits for one."""

    request_queue_size = 128

    def __init__(self, address: tuple[str, int], application: Insurer) -> None:
        self._pool = ThreadPoolExecutor(THREADS, "insurer")
        super().__init__(address, Handler)
        self.set_app(application)

    def server_bind(self) -> None:
        """Bind, and ask no name server who we are."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand a connection to the pool."""
        self._pool.submit(self._serve, request, client_address)

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError as error:
            print(f"{client_address[0]} left: {error}", file=sys.stderr)  # noqa: T201 - this is its log
        finally:
            self.shutdown_request(request)

    def server_close(self) -> None:
        """Close the listener and wait for the pool."""
        super().server_close()
        self._pool.shutdown(cancel_futures=True)


class Handler(WSGIRequestHandler):
    """One connection, one request."""

    timeout = 30


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; says "listening on URL" once it does."""
    parser = argparse.ArgumentParser(prog="python -m strangler.demo.legacy", description="A slow legacy insurer.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on; 0.0.0.0 is all of them")
    parser.add_argument("--port", type=int, default=8081, help="0 is any that is free")
    parser.add_argument("--database", type=Path, default=Path("insurer.db"), help="made when there is none")
    parser.add_argument("--speed", type=float, default=1.0, help="50 is fifty times as fast")
    options = parser.parse_args(arguments)
    insurer = Insurer(Register(options.database), options.speed)
    with Server((options.host, options.port), insurer) as server:

        def stop(*_: object) -> None:
            insurer.stop()
            threading.Thread(target=server.shutdown).start()  # it waits for the loop that this handler interrupts

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        print(f"listening on http://{options.host}:{server.server_port}", flush=True)  # noqa: T201 - for who started it
        server.serve_forever(poll_interval=0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
