"""TLS to systems that are called, as the policy has it."""

from __future__ import annotations

import ssl

from strangler.policy.upstreams import Tls


def client_context(tls: Tls) -> ssl.SSLContext:
    """How we speak TLS to who is called. Blocks while it reads the certificates.

    Raises:
        OSError: a file cannot be read, or is none of what it should be (`ssl.SSLError`).
    """
    context = ssl.create_default_context(cafile=tls.ca)
    context.set_alpn_protocols(["http/1.1"])
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    return context
