"""A machine that is the whole internet: every address is its own, and something listens on all of them.

Run in a network namespace of its own (``unshare --map-root-user --net --mount``), so that whatever is connected to,
public or private, is connected to here, and is seen. Names are resolved by the system's resolver from a real server.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from strangler.channels.callbacks.sender import HttpCallbackSender
from strangler.policy.upstreams import Tls
from strangler.ports import Answered, Reception
from tests.channels.callbacks.name_server import NO_NAME, SERVER_FAILURE, Answer, name_server
from tests.channels.callbacks.scene import a_message, a_receiver, anywhere
from tests.channels.callbacks.spellings import ADDRESSES, LOOPBACK, PRIVATE, PUBLIC
from tests.front.certificates import Authority

GOOD, INNER = "93.184.216.34", "169.254.169.254"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: https://169.254.169.254/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
TAKEN = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def settle(folder: Path) -> None:
    """Make every address ours, and our name server the one that is asked."""
    for command in (
        "ip link set lo up",
        "ip route add local 0.0.0.0/0 dev lo",
        "ip -6 route add local ::/0 dev lo",
    ):
        subprocess.run(command.split(), check=True)
    (folder / "resolv.conf").write_text("nameserver 127.0.0.53\noptions timeout:1 attempts:1\n")
    subprocess.run(["mount", "--bind", str(folder / "resolv.conf"), "/etc/resolv.conf"], check=True)


def script(name: str, count: int) -> Answer:
    """What the name server says."""
    kind, _, rest = name.partition(".")
    if rest == "public.example":
        return [PUBLIC[int(kind)]]
    if rest == "private.example":
        return [ADDRESSES[int(kind)].partition("%")[0]]
    answers: dict[str, Callable[[], Answer]] = {
        "turning": lambda: [GOOD] if count == 0 else [INNER],
        "alternating": lambda: [INNER] if count % 2 else [GOOD],
        "several": lambda: [INNER, "10.0.0.1", GOOD, "127.0.0.1", "::1"],
        "alias": lambda: ["=metadata.internal"],
        "metadata": lambda: [INNER, "fd00:ec2::254"],
        "redirecting": lambda: ["1.1.1.1"],
        "failing": lambda: SERVER_FAILURE,
        "silent": lambda: None,
    }
    return answers[kind]() if kind in answers else NO_NAME


class Everybody:
    """Listens on every address, and keeps note of those that were connected to."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    def take(self) -> list[str]:
        """What was reached since the last time."""
        reached, self.reached = self.reached, []
        return reached

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        address = writer.get_extra_info("sockname")[0]
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(REDIRECT if address == "1.1.1.1" else TAKEN)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def listen(self, context: ssl.SSLContext) -> list[asyncio.Server]:
        """On port 443 of all addresses of both families."""
        noting = self

        class Noting(socket.socket):
            def accept(self) -> Any:
                connection, peer = super().accept()
                noting.reached.append(connection.getsockname()[0].removeprefix("::ffff:"))
                return connection, peer

        servers = []
        for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            listener = Noting(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((host, 443))
            listener.listen(100)
            servers.append(await asyncio.start_server(self.serve, sock=listener, ssl=context))
        return servers


def word(reception: Reception) -> list[Any]:
    """A reception as JSON."""
    return [type(reception).__name__, reception.status if isinstance(reception, Answered) else reception.reason]


async def explore(folder: Path) -> dict[str, Any]:
    """All that is asked, and what came of it."""
    authority = Authority(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("everybody"))
    everybody = Everybody()
    servers = await everybody.listen(context)
    sender = HttpCallbackSender()
    tls = Tls(ca=authority.ca, server_name="localhost")
    receiver = a_receiver(None, allow=anywhere(), networks=(), tls=tls, timeout=3.0)
    found: dict[str, Any] = {}

    async def tell(host: str, times: int = 1) -> list[Any]:
        return [word(await sender.send(receiver, a_message(f"https://{host}/"))) for _ in range(times)]

    async with name_server(script, ("127.0.0.53", 53)):
        # That the trap works: whoever is not judged gets everywhere.
        for address in (GOOD, INNER, "10.0.0.1", "127.0.0.1", "::1", "fd00:ec2::254", "2606:4700::1111"):
            _, writer = await asyncio.open_connection(address, 443)
            writer.close()
        found["trap"] = everybody.take()
        found["spellings"] = [[host, *(await tell(host))] for host in (*LOOPBACK, *PRIVATE)]
        found["spellings reached"] = everybody.take()
        found["private names"] = [
            [address, *(await tell(f"{index}.private.example"))] for index, address in enumerate(ADDRESSES)
        ]
        found["private names reached"] = everybody.take()
        found["public names"] = [
            [address, *(await tell(f"{index}.public.example"))] for index, address in enumerate(PUBLIC)
        ]
        found["public names reached"] = everybody.take()
        for name, times in (
            ("turning", 10),
            ("alternating", 20),
            ("several", 5),
            ("alias", 3),
            ("redirecting", 3),
            ("failing", 1),
            ("silent", 1),
            ("gone", 1),
        ):
            found[name] = await tell(f"{name}.example", times)
            found[f"{name} reached"] = everybody.take()
    await sender.close()
    for server in servers:
        server.close()
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        settle(Path(name))
        json.dump(asyncio.run(explore(Path(name))), sys.stdout)
