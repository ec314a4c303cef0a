"""TLS to systems that are called, as the policy has it; and how certificates are judged, theirs and clients'."""

from __future__ import annotations

import ssl

from strangler.policy.upstreams import Tls


def client_context(tls: Tls) -> ssl.SSLContext:
    """How we speak TLS to who is called. Blocks while it reads the certificates.

    Raises:
        OSError: a file cannot be read, or is none of what it should be (`ssl.SSLError`).
    """
    context = ssl.create_default_context(cafile=tls.ca)
    judge_alike(context)
    context.set_alpn_protocols(["http/1.1"])
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert is not None:
        _load_own(context, tls.cert, tls.key)
    return context


def judge_alike(context: ssl.SSLContext) -> None:
    """Have certificates judged alike by every Python, and as nginx and curl judge them.

    From 3.13 on a context refuses by default what RFC 5280 asks for and authorities in houses often leave out, as an
    Authority Key Identifier: with a new Python a legacy system would be out of reach. And it takes what is named for an
    authority for one, also where another one signed it, as 3.11 and 3.12 do only if they are told.
    """
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def holds_authorities(path: str) -> bool:
    """Whether a file holds certificates of authorities, as PEM."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError:
        return False
    return True


def holds_own(cert: str, key: str | None) -> bool:
    """Whether files hold, as PEM, a certificate and the private key that belongs to it; without ``key`` in one file."""
    try:
        _load_own(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), cert, key)
    except OSError:
        return False
    return True


def _load_own(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    # Without a password OpenSSL would ask for that of an encrypted key at the terminal, and wait.
    context.load_cert_chain(cert, key, password="")
