"""What kept an answer from coming, as a reception: whose fault it was, and words for people."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import aiohttp

from strangler.channels.callbacks.gate import Trail
from strangler.ports import Forbidden, Ours, Unreached
from strangler.wire.malformed import Malformed

_OURS = frozenset(
    {
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS),
        errno.EADDRNOTAVAIL,  # no port of ours is left
        errno.ENETDOWN,
        errno.EPERM,  # a packet filter on this machine
    }
)
_LOOKUP_OURS = frozenset({socket.EAI_AGAIN, socket.EAI_MEMORY})
"""No name server answered; whether the name exists, nobody knows."""


def reception_of(error: BaseException, trail: Trail, duration: int, limit: float) -> Unreached | Forbidden | Ours:
    """What an exchange came to that raised. ``duration`` in milliseconds, ``limit`` in seconds."""
    if trail.lack is not None:
        return Ours(reason=f"no socket: {_words(trail.lack)}", duration=duration)
    if trail.refused is not None and trail.sockets == 0 and trail.address is None:
        return Forbidden(reason=trail.refused)
    if isinstance(error, TimeoutError):
        if trail.looking_up:
            return Ours(reason=f"no name server told its address within {limit:g} s", duration=duration)
        return Unreached(reason=f"no answer within {limit:g} s", address=trail.address, duration=duration)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _unreached(f"its certificate is refused: {_certificate(error.certificate_error)}", trail, duration)
    if (below := _tls(error)) is not None:
        return _unreached(f"TLS failed: {below.reason or 'the connection was closed'}", trail, duration)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return _not_found(error.os_error, trail, duration)
    if isinstance(error, ConnectionResetError):
        return _unreached("it closed the connection without an answer", trail, duration)
    if isinstance(error, OSError):
        if error.errno in _OURS:
            return Ours(reason=f"no connection: {_words(error)}", duration=duration)
        return _unreached(f"no connection: {_words(error)}", trail, duration)
    if isinstance(error, Malformed):
        return _unreached("what it answered is not HTTP", trail, duration)
    # Whatever this is, it is not the receiver's; its name is all that may be shown.
    return Ours(reason=f"a fault of our own: {type(error).__name__}", duration=duration)


def _unreached(reason: str, trail: Trail, duration: int) -> Unreached:
    return Unreached(reason=reason, address=trail.address, duration=duration)


def _not_found(error: OSError, trail: Trail, duration: int) -> Unreached | Ours:
    if isinstance(error, socket.gaierror):
        if error.errno in _LOOKUP_OURS:
            return Ours(reason="no name server answered", duration=duration)
        return _unreached("its name has no address", trail, duration)
    return Ours(reason=f"no name server could be asked: {_words(error)}", duration=duration)


def _tls(error: BaseException) -> ssl.SSLError | None:
    """The TLS error behind an error. (aiohttp's own is one by its class, and has nothing of one.)"""
    behind = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error.__cause__
    return behind if isinstance(behind, ssl.SSLError) else None


def _certificate(error: Exception) -> str:
    return error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else type(error).__name__


def _words(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else "every address failed"
