"""Whose a request is: the first identity that it presents, as a keyed hash.

The hash is what a process remembers of its caller. Without the key it can neither be reversed by guessing nor be
compared with that of another installation.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, urlsafe_b64decode
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from strangler.domain.exchange import Claims, Request
from strangler.policy.model import AccessPolicy
from strangler.policy.readable import parse_json

_DIGEST_SIZE = 16  # bytes: two of 2^32 callers meet with a chance of 2^-65
_NAME_LENGTH = 200  # characters of a caller's label
_LONGEST_TOKEN = 16 * 1024
_TOKEN_PARTS = 3


class Presented(NamedTuple):
    """What a request presents as its caller's identity."""

    source: str  # of the policy's list: "header:Authorization"
    value: bytes
    issuer: str | None = None  # of the token that says so


def presented(request: Request, access: AccessPolicy) -> Presented | None:
    """The first of the policy's identities that the request bears; an empty one is none.

    What a token says counts only once it was verified, see `Request.verified`.
    """
    claims = request.verified.get(access.jwt) if access.jwt is not None else None
    return _presented(request, access, claims)


def claimed(request: Request, access: AccessPolicy) -> Presented | None:
    """The same, of a token that nobody has looked at: for what decides nothing that is to be guarded."""
    return _presented(request, access, _unverified(request) if access.jwt is not None else None)


def _presented(request: Request, access: AccessPolicy, claims: Claims | None) -> Presented | None:
    for source in access.identity:
        field = _field_of(source)
        value = request.field(field) if field is not None else _value(request, source, claims)
        if value:
            return Presented(source, value, claims.issuer if claims is not None and _is_claim(source) else None)
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
    text = b"%b\0%b" % (source.encode(), found.value)
    if found.issuer is not None:
        # Two issuers may well have the same name for two people.
        text = b"%b\0%b\0%b" % (source.encode(), found.issuer.encode("utf-8", "surrogatepass"), found.value)
    return hashlib.blake2b(text, key=key, digest_size=_DIGEST_SIZE, usedforsecurity=True).hexdigest()


def caller_name(request: Request, access: AccessPolicy) -> str | None:
    """A plain label of the caller for people; it decides nothing. Control characters are taken out."""
    if access.name is None:
        return None
    claims = request.verified.get(access.jwt) if access.jwt is not None else None
    value = _value(request, access.name, claims)
    if not value:
        return None
    label = "".join(letter for letter in value.decode("utf-8", "replace") if letter.isprintable())
    return label[:_NAME_LENGTH] or None


def bearer_token(request: Request) -> bytes | None:
    """The token that a request bears (RFC 6750 section 2.1); None: it bears none."""
    scheme, _, token = (request.field(b"authorization") or b"").partition(b" ")
    return token.strip(b" ") if scheme.lower() == b"bearer" else None


def _value(request: Request, source: str, claims: Claims | None) -> bytes | None:
    """What a request holds at any source, with what its token says."""
    if (field := _field_of(source)) is not None:
        return request.field(field)
    if _is_claim(source):
        return _text(claims.values.get(source.partition(":")[2])) if claims is not None else None
    return _basic_user(request) if source == "basic:user" else source_value(request, source)


@lru_cache(maxsize=1024)
def _field_of(source: str) -> bytes | None:
    """The header field that a source is, in small letters; kept, because every request is asked for it."""
    kind, _, name = source.partition(":")
    return name.lower().encode() if kind == "header" else None


def _is_claim(source: str) -> bool:
    return source.startswith("jwt:")


def _text(value: object) -> bytes | None:
    """A claim as a name: a text or a whole number; anything else is none."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return str(value).encode() if isinstance(value, int) and not isinstance(value, bool) else None


def _unverified(request: Request) -> Claims | None:
    """What the token of a request says, true or not."""
    token = bearer_token(request)
    parts = token.split(b".") if token is not None and len(token) <= _LONGEST_TOKEN else []
    if len(parts) != _TOKEN_PARTS:
        return None
    try:
        values = parse_json(urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
    except ValueError:
        return None
    if not isinstance(values, dict) or not isinstance(values.get("iss"), str):
        return None
    return Claims(values["iss"], values)


def _basic_user(request: Request) -> bytes | None:
    """The user of HTTP's Basic scheme (RFC 7617 section 2)."""
    scheme, _, token = (request.field(b"authorization") or b"").partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, _ = b64decode(token.strip(b" "), validate=True).partition(b":")
    except ValueError:
        return None
    return user if colon else None


def source_value(request: Request, source: str) -> bytes | None:
    """What a request holds at ``header:NAME``, ``cookie:NAME``, ``query:NAME`` or ``tls:subject``.

    Raises:
        ValueError: there is no such kind of source.
    """
    if (field := _field_of(source)) is not None:
        return request.field(field)
    kind, _, name = source.partition(":")
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
