"""The gate that every connection to a receiver goes through: what is judged is what is connected to.

A check before connecting is worth nothing where the name is resolved again to connect. Here a name is resolved once, by
our own resolver, which lets only addresses through that may be called; and the socket for each of them is made here,
which judges the very address that the socket is going to be connected to once more. What is refused has no socket.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence
from contextvars import ContextVar
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from aiohttp import ClientRequest, ClientTimeout, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from strangler.channels.callbacks.lookup import Lookup
from strangler.policy.addresses import judge

MOST_ADDRESSES = 8
"""Of a name; the rest is not tried."""

_OUR_LACKS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


class AddressForbidden(OSError):
    """An address may not be called."""


class Trail:
    """What one exchange has come by so far."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network], *, plain: bool) -> None:
        self._networks = networks
        self._plain = plain
        self.sockets = 0  # made by this exchange; 0: a connection of an earlier one was used
        self.address: str | None = None  # the last one that a socket was made for, or the one that is connected
        self.refused: str | None = None  # why the first address that was refused was
        self.looking_up = False
        self.lack: OSError | None = None  # what kept us from making a socket

    def begin_anew(self) -> None:
        """Another exchange of the same attempt begins."""
        self.sockets = 0
        self.address = None

    def check(self, text: str) -> None:
        """Let an address through.

        Raises:
            AddressForbidden: it may not be called.
        """
        reason = judge(ip_address(text), self._networks, plain=self._plain)
        if reason is not None:
            refusal = f"{text} is {reason}"
            self.refused = self.refused or refusal
            raise AddressForbidden(errno.EACCES, refusal)


TRAIL: ContextVar[Trail] = ContextVar("callback_trail")
"""Of the exchange that is under way. Whoever connects without one is refused, by the LookupError."""


class JudgingResolver(AbstractResolver):
    """Resolves names to those of their addresses that may be called."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """See `AbstractResolver.resolve`.

        Raises:
            AddressForbidden: none of its addresses may be called.
            OSError: it has none, or nobody could say.
        """
        trail = TRAIL.get()
        trail.looking_up = True
        found = await self._lookup.addresses(host, port)
        trail.looking_up = False
        allowed: list[ResolveResult] = []
        refusal: AddressForbidden | None = None
        for address in found:
            try:
                trail.check(address)
            except AddressForbidden as error:
                refusal = refusal or error
            else:
                allowed.append(_result(host, address, port))
        if not allowed:
            raise refusal or socket.gaierror(socket.EAI_NONAME, "the name has no address")
        return allowed[:MOST_ADDRESSES]

    async def close(self) -> None:
        """Nothing is held."""


def _result(host: str, address: str, port: int) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )


class GatedConnector(TCPConnector):
    """Makes sockets only for addresses that may be called, and keeps note of the one that is connected."""

    def __init__(self, resolver: AbstractResolver, **options: Any) -> None:
        super().__init__(
            resolver=resolver,
            socket_factory=_socket,
            use_dns_cache=False,  # a receiver that moves is found, and its rate is ours to bound
            limit=0,  # who calls bounds its calls
            **options,
        )

    async def dial(self, url: URL, server_name: str | None, trail: Trail) -> Connection:
        """A new connection, for whoever closes it again; ``trail`` is filled on the way.

        Args:
            server_name: that a certificate has to be of; None: the host's.

        Raises:
            OSError, aiohttp.ClientError: there is none.
        """
        token = TRAIL.set(trail)
        try:
            request = ClientRequest("POST", url, server_hostname=server_name, loop=asyncio.get_running_loop())
            return await self.connect(request, [], ClientTimeout())
        finally:
            TRAIL.reset(token)

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:
        """See `BaseConnector.connect`."""
        connection = await super().connect(req, traces, timeout)
        peer = connection.transport.get_extra_info("peername") if connection.transport is not None else None
        if peer is not None:
            TRAIL.get().address = str(peer[0])
        return connection


def _socket(info: tuple[Any, ...]) -> socket.socket:
    """A socket for an address that may be called.

    Raises:
        AddressForbidden: it may not.
        OSError: there is none left.
    """
    family, kind, protocol, _, address = info
    trail = TRAIL.get()
    trail.check(str(address[0]))
    trail.sockets += 1
    trail.address = str(address[0])
    try:
        return socket.socket(family=family, type=kind, proto=protocol)
    except OSError as error:
        if error.errno in _OUR_LACKS:
            trail.lack = error
        raise
