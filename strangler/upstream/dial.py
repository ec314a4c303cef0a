"""Opening a connection: every address of a name, TLS, Unix sockets, within ``connect_timeout``."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Sequence

from aiohappyeyeballs import AddrInfoType, start_connection

from strangler.engine.tls import client_context
from strangler.policy.upstreams import Upstream
from strangler.ports import Failure, Trouble
from strangler.upstream.link import UpstreamLink

NEXT_ADDRESS_AFTER = 0.25
"""Seconds after which the next address of a name is tried beside the one before (RFC 8305 section 5)."""


class Dialer:
    """Opens connections to one upstream. The name is resolved anew for each, so that a moved service is found."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._context: ssl.SSLContext | None = None

    async def open(self, make: Callable[[], UpstreamLink]) -> UpstreamLink | Failure:
        """A connected link, or why there is none."""
        try:
            async with asyncio.timeout(self._upstream.connect_timeout):
                link = await self._connect(make)
        except TimeoutError:
            limit = self._upstream.connect_timeout
            return Failure(Trouble.TIMEOUT, f"no connection to the upstream within {limit:g} s")
        except socket.gaierror:
            return Failure(Trouble.UNREACHABLE, "the name of the upstream does not resolve")
        except ssl.SSLCertVerificationError as error:
            return Failure(Trouble.UNREACHABLE, f"the certificate of the upstream is not taken: {error.verify_message}")
        except ssl.SSLError as error:
            return Failure(Trouble.UNREACHABLE, f"TLS with the upstream failed: {error.reason or 'handshake failed'}")
        except ConnectionRefusedError:
            return Failure(Trouble.UNREACHABLE, "the connection to the upstream was refused")
        except OSError as error:
            cause = os.strerror(error.errno) if error.errno else "it was closed while it was being opened"
            return Failure(Trouble.UNREACHABLE, f"no connection to the upstream: {cause}")
        except ValueError:  # UnicodeError is one (so is the certificate's, above): DNS or TLS cannot be asked about it
            return Failure(Trouble.UNREACHABLE, "the name of the upstream is none that can be looked up")
        if link.closing:
            return Failure(Trouble.UNREACHABLE, "the upstream closed the connection as soon as it was open")
        return link

    async def _connect(self, make: Callable[[], UpstreamLink]) -> UpstreamLink:
        loop = asyncio.get_running_loop()
        upstream = self._upstream
        if upstream.scheme == "unix":
            return (await loop.create_unix_connection(make, upstream.socket_path))[1]
        name = upstream.tls.server_name or upstream.host
        if upstream.scheme == "https" and self._context is None:
            # First, so that nothing is connected while it cannot be made.
            self._context = client_context(upstream.tls)
        addresses = await resolve(upstream.host, upstream.port)
        connected = await start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_AFTER, interleave=1, loop=loop)
        if upstream.scheme == "http":
            return (await loop.create_connection(make, sock=connected))[1]
        return (await loop.create_connection(make, sock=connected, ssl=self._context, server_hostname=name))[1]


async def resolve(host: str, port: int) -> Sequence[AddrInfoType]:
    """The addresses of a name, in the order in which the system prefers them.

    Raises:
        socket.gaierror: it has none.
    """
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
