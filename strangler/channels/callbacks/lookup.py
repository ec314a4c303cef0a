"""Names to addresses, by the system's resolver."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
from collections.abc import Sequence
from typing import Protocol


class Lookup(Protocol):
    """Whoever knows the addresses of a name."""

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a name, in the order in which they are to be tried.

        Raises:
            socket.gaierror: there are none, or nobody could say.
            OSError: nobody could be asked.
        """
        ...


class SystemLookup:
    """Asks the system, each time anew.

    In a thread of its own: a name whose servers are silent occupies one for half a minute, and must keep neither
    another name waiting, nor, as it cannot be interrupted, the end of the program.
    """

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """See `Lookup.addresses`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str]] = loop.create_future()

        def settle(found: Sequence[str], error: OSError | None) -> None:
            if answer.done():
                return  # nobody waits any more
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(found)

        def ask() -> None:
            found: Sequence[str] = ()
            failure: OSError | None = None
            try:
                entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                found = tuple(dict.fromkeys(str(entry[4][0]) for entry in entries))
            except OSError as error:
                failure = error
            except UnicodeError:  # what is too long for a name of the DNS
                failure = socket.gaierror(socket.EAI_NONAME, "not a name")
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
                loop.call_soon_threadsafe(settle, found, failure)

        try:
            threading.Thread(target=ask, name="callback-lookup", daemon=True).start()
        except RuntimeError:
            raise OSError(errno.EAGAIN, "no thread could be started") from None
        return await answer
