"""Whose a request is: the first identity that it presents, as a keyed hash.

The hash is what a process remembers of its caller. Without the key it can neither be reversed by guessing nor be
compared with that of another installation.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from strangler.domain.exchange import Request
from strangler.policy.model import AccessPolicy

_DIGEST_SIZE = 16  # bytes: two of 2^32 callers meet with a chance of 2^-65
_NAME_LENGTH = 200  # characters of a caller's label


class Presented(NamedTuple):
    """What a request presents as its caller's identity."""

    source: str  # of the policy's list: "header:Authorization"
    value: bytes


def presented(request: Request, access: AccessPolicy) -> Presented | None:
    """The first of the policy's identities that the request bears; an empty one is none."""
    for source in access.identity:
        value = source_value(request, source)
        if value:
            return Presented(source, value)
    return None


def identify(request: Request, access: AccessPolicy, key: bytes) -> str | None:
    """The keyed hash of the caller's identity, hex; None where the request bears none.

    The source is a part of it, so that what one source holds never passes for what another, perhaps better guarded
    one holds. ``key`` is 16 to 64 bytes.
    """
    found = presented(request, access)
    return None if found is None else digest(found, key)


def digest(found: Presented, key: bytes) -> str:
    """The keyed hash of an identity, hex."""
    source = found.source.lower() if found.source.startswith("header:") else found.source
    return hashlib.blake2b(
        b"%b\0%b" % (source.encode(), found.value), key=key, digest_size=_DIGEST_SIZE, usedforsecurity=True
    ).hexdigest()


def caller_name(request: Request, access: AccessPolicy) -> str | None:
    """A plain label of the caller for people; it decides nothing. Control characters are taken out."""
    if access.name is None:
        return None
    value = source_value(request, access.name)
    if not value:
        return None
    label = "".join(letter for letter in value.decode("utf-8", "replace") if letter.isprintable())
    return label[:_NAME_LENGTH] or None


def source_value(request: Request, source: str) -> bytes | None:
    """What a request holds at ``header:NAME``, ``cookie:NAME``, ``query:NAME`` or ``tls:subject``.

    Raises:
        ValueError: there is no such kind of source.
    """
    kind, _, name = source.partition(":")
    if kind == "header":
        return request.field(name.lower().encode())
    if kind == "cookie":
        return _cookie(request, name.encode())
    if kind == "query":
        return _parameter(request, name.encode())
    if source == "tls:subject":
        subject = request.peer.tls_subject
        return None if subject is None else subject.encode()
    raise ValueError(f"no such source of an identity: {source!r}")


def _cookie(request: Request, name: bytes) -> bytes | None:
    """The first cookie of that name (RFC 6265 section 5.4); names are case-sensitive."""
    for field, line in request.headers:
        if field.lower() != b"cookie":
            continue
        for pair in line.split(b";"):
            key, equals, value = pair.partition(b"=")
            if equals and key.strip(b" \t") == name:
                return value.strip(b" \t")
    return None


def _parameter(request: Request, name: bytes) -> bytes | None:
    """The first query parameter of that name, decoded as a form field."""
    for pair in (request.query or b"").split(b"&"):
        key, equals, value = pair.partition(b"=")
        if equals and _form_decoded(key) == name:
            return _form_decoded(value)
    return None


def _form_decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))
