"""Who is at the other end of a client's connection."""

from __future__ import annotations

import asyncio
import ssl

from cryptography import x509

from strangler.domain.exchange import Peer, authority


def peer_of(transport: asyncio.Transport) -> Peer:
    """The peer as the kernel and TLS know it."""
    remote = transport.get_extra_info("peername")
    local = transport.get_extra_info("sockname")
    secured = transport.get_extra_info("ssl_object")
    address, port = remote[:2] if isinstance(remote, tuple) else ("", 0)
    return Peer(
        address,
        port,
        tls=secured is not None,
        tls_subject=_subject(secured) if secured is not None else None,
        local=authority(*local[:2]) if isinstance(local, tuple) else "",
    )


def _subject(secured: ssl.SSLObject) -> str | None:
    certificate = secured.getpeercert(binary_form=True)
    if not certificate:
        return None
    return x509.load_der_x509_certificate(certificate).subject.rfc4514_string()
