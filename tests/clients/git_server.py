"""git's own CGI program as a WSGI application: ``GIT_PROJECT_ROOT=… gunicorn tests.clients.git_server:application``."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

PIECE = 65536


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    """One exchange: the body goes to the program as it comes, and what it writes comes back (RFC 3875)."""
    variables = {name: value for name, value in environ.items() if isinstance(value, str)}
    if environ.get("HTTP_TRANSFER_ENCODING"):
        variables.pop("CONTENT_LENGTH", None)
    program = subprocess.Popen(
        ["git", "http-backend"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **variables, "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": "anybody"},
    )
    assert program.stdin is not None
    assert program.stdout is not None
    received = 0
    try:
        while piece := environ["wsgi.input"].read(PIECE):
            received += len(piece)
            program.stdin.write(piece)
        program.stdin.close()
    except BrokenPipeError:
        pass  # it has seen enough, and says why in its answer
    status, headers = "200 OK", []
    while line := program.stdout.readline().strip():
        name, _, value = line.decode("latin-1").partition(": ")
        if name.lower() == "status":
            status = value
        else:
            headers.append((name, value))
    coding = environ.get("HTTP_TRANSFER_ENCODING", "identity")
    print(f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} {coding} {received} -> {status}", flush=True)
    start_response(status, headers)
    while piece := program.stdout.read(PIECE):
        yield piece
    program.wait()
