"""Large bodies over blocking sockets, both ends.

Run as ``python -m bench.volume serve PORT`` (``GET /N`` gives N bytes, ``PUT`` takes what comes and says how much), or
``python -m bench.volume down|up PORT BYTES`` (prints the seconds that it took).
"""

from __future__ import annotations

import re
import socket
import sys
import threading
import time

PIECE = memoryview(bytes(range(256)) * 1024)  # 256 KiB
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)


def serve(port: int) -> None:
    """Answer on as many connections as come."""
    with socket.create_server(("127.0.0.1", port), backlog=64) as listener:
        while True:
            end, _ = listener.accept()
            threading.Thread(target=_converse, args=(end,), daemon=True).start()


def _converse(end: socket.socket) -> None:
    with end:
        while (got := _head(end)) is not None:
            head, body = got
            if head.startswith(b"GET"):
                size = int(head.split(b" ", 2)[1].lstrip(b"/"))
                end.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                _send(end, size)
            else:
                taken = len(body) + _take(end, length(head) - len(body))
                text = b"%d" % taken
                end.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))


def down(port: int, size: int) -> float:
    """Seconds in which so many bytes came."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as end:
        begin = time.monotonic()
        end.sendall(b"GET /%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % size)
        head, body = _answered(end)
        if length(head) != size or len(body) + _take(end, size - len(body)) != size:
            raise RuntimeError(f"not all came: {head!r}")
        return time.monotonic() - begin


def up(port: int, size: int) -> float:
    """Seconds in which so many bytes went, and were confirmed."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as end:
        begin = time.monotonic()
        end.sendall(b"PUT /up HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % size)
        _send(end, size)
        head, body = _answered(end)
        body += end.recv(64) if len(body) < length(head) else b""
        if int(body) != size:
            raise RuntimeError(f"not all arrived: {body!r}")
        return time.monotonic() - begin


def length(head: bytes) -> int:
    """The Content-Length of a head; 0 without one."""
    found = _LENGTH.search(head)
    return int(found[1]) if found else 0


def _answered(end: socket.socket) -> tuple[bytes, bytes]:
    got = _head(end)
    if got is None or not got[0].startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"not a fair run: {got!r}")
    return got


def _head(end: socket.socket) -> tuple[bytes, bytes] | None:
    """A head, and what came of the body with it; None once the connection has ended."""
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            more = end.recv(65536)
        except ConnectionError:
            return None
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    return head, body


def _send(end: socket.socket, size: int) -> None:
    while size > 0:
        size -= end.send(PIECE[: min(size, len(PIECE))])


def _take(end: socket.socket, size: int) -> int:
    room = bytearray(len(PIECE))
    taken = 0
    while taken < size and (count := end.recv_into(room, min(len(room), size - taken))):
        taken += count
    return taken


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        print({"down": down, "up": up}[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3])))
