"""So many requests per second over one blocking socket: little work of its own, so little noise.

Run as ``python -m bench.pace PORT RATE SECONDS`` (prints the latencies in nanoseconds as JSON).
"""

from __future__ import annotations

import json
import socket
import sys
import time

REQUEST = b"GET /anything?a=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def steady(port: int, rate: int, seconds: float, request: bytes = REQUEST, status: bytes = b"200") -> list[int]:
    """Nanoseconds that each exchange took, one after the other at its time, on one kept connection.

    One connection serves: at the latencies of interest each exchange is over long before the next is due, and where it
    is not, the wait counts: each is measured from the time at which it was due.

    Raises:
        RuntimeError: a reply was of another status, or the connection ended.
    """
    latencies = []
    with socket.create_connection(("127.0.0.1", port), timeout=30) as end:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        step = 1_000_000_000 // rate
        due = time.monotonic_ns() + step
        for _ in range(int(rate * seconds)):
            # A sleeping process wakes late; the rest of the wait is spun away, so that what is measured is the reply.
            left = due - time.monotonic_ns()
            if left > 300_000:
                time.sleep((left - 300_000) / 1e9)
            while time.monotonic_ns() < due:
                pass
            end.sendall(request)
            reply = end.recv(65536)
            latencies.append(time.monotonic_ns() - due)
            if not reply.startswith(b"HTTP/1.1 " + status) or not reply.endswith(b"}"):
                raise RuntimeError(f"not a fair run: {reply[:200]!r}")
            due += step
    return latencies


if __name__ == "__main__":
    print(json.dumps(steady(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
