"""The listening sockets, bound once: by a worker that is alone before it calls anybody, by the supervisor for several.

All workers of a supervisor inherit its sockets and accept from the same ones. With a socket each (``SO_REUSEPORT``) the
kernel would deal connections out blindly: those dealt to a worker that is frozen, crashed or going away would wait or
be lost with its socket, and Unix sockets know nothing of it. From a shared one whoever is awake takes the next, and it
outlives every worker.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from typing import Any

from strangler.config.settings import Address
from strangler.domain.errors import OperatorError

BACKLOG = 1024


class _AtPath(socket.socket):
    """A Unix socket that knows which file its name was when it got it."""

    __slots__ = ("file",)
    file: tuple[int, int]


@contextlib.contextmanager
def blaming(address: Address, flag: str) -> Iterator[None]:
    """Say which address it is that cannot be listened on, and which flag named it.

    Raises:
        OperatorError: it cannot.
    """
    try:
        yield
    except socket.gaierror as error:
        raise OperatorError(f"cannot listen on {address} ({flag}): {error.strerror}") from error
    except UnicodeError:
        raise OperatorError(f"cannot listen on {address} ({flag}): it is no name of a host") from None
    except OSError as error:
        # The text of asyncio would name the address once more.
        reason = os.strerror(error.errno) if error.errno else error
        raise OperatorError(f"cannot listen on {address} ({flag}): {reason}") from error


def bind(addresses: Sequence[Address], flag: str = "--listen") -> list[socket.socket]:
    """Sockets that listen at all of the addresses, which ``flag`` named; a name may stand for several.

    Raises:
        OperatorError: an address cannot be listened on.
    """
    bound: list[socket.socket] = []
    try:
        for address in addresses:
            with blaming(address, flag):
                bound += [bind_path(address.path)] if address.path else _bind_name(address.host, address.port)
    except BaseException:
        close(bound)
        raise
    return bound


def close(sockets: Sequence[socket.socket]) -> None:
    """Listen no more, and take the names of Unix sockets away, unless they are somebody else's by now; also twice."""
    for one in sockets:
        if one.fileno() < 0:
            continue
        if isinstance(one, _AtPath):
            path = one.getsockname()
            with contextlib.suppress(FileNotFoundError):
                # As long as the socket is open, no other file is given the number of its.
                if _file(path) == one.file:
                    os.unlink(path)
        one.close()


def _bind_name(host: str, port: int) -> list[socket.socket]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    bound: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, kind, protocol, _, name in dict.fromkeys(found):
            try:
                bound.append(_bind_at(family, kind, protocol, name))
            except OSError as error:
                # A name may well have an address of IPv6 on a machine without it, or where it is switched off.
                if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
                missing = error
        if missing is not None and not bound:
            raise missing
    except BaseException:
        close(bound)
        raise
    return bound


def _bind_at(family: int, kind: int, protocol: int, name: Any) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(name)
        _listen(listener)
    except BaseException:
        listener.close()
        raise
    return listener


def bind_path(path: str) -> socket.socket:
    """A Unix socket that listens.

    Raises:
        OSError: the path cannot be listened on.
    """
    # What an earlier run left is in the way; where somebody listens, and anything but a socket, is somebody else's.
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            if _somebody_listens(path):
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            os.unlink(path)
    listener = _AtPath(socket.AF_UNIX)
    try:
        listener.bind(path)
        listener.file = _file(path)
        _listen(listener)
    except BaseException:
        listener.close()
        raise
    return listener


def _somebody_listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        try:
            client.connect(path)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:  # more clients wait there than may
            return True
    return True


def _file(path: str) -> tuple[int, int]:
    """Which file a name is."""
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def _listen(listener: socket.socket) -> None:
    listener.listen(BACKLOG)
    listener.setblocking(False)
