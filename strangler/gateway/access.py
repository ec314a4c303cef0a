"""Who may see a process, and who may cancel it, by the promise under which it was accepted."""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest

from strangler.domain.exchange import Request
from strangler.domain.process import Process, Tombstone
from strangler.engine.identity import identify, presented
from strangler.policy.model import AccessPolicy

_NOBODY = "0" * 32
"""Stands for a caller where there is none, so that every request is compared with something."""


def may_read(request: Request, found: Process | Tombstone | None, access: AccessPolicy, key: bytes) -> bool:
    """Whether a request may see what was found, if anything was.

    Nothing found costs the same work as something that is somebody else's, so that the time does not tell them apart.
    """
    caller = found.caller if found is not None else None
    same = compare_digest(identify(request, access, key) or "", caller or _NOBODY)
    if found is None:
        return False
    return same or _readers(caller, access) == "anyone"


def may_cancel(request: Request, process: Process, access: AccessPolicy, key: bytes) -> bool:
    """Whether a request that may see a process may cancel it too, as far as access goes."""
    if not may_cancel_own(process, access):
        return False
    if _cancellers(process.caller, access) == "anyone":
        return True
    return compare_digest(identify(request, access, key) or "", process.caller or _NOBODY)


def may_cancel_own(process: Process, access: AccessPolicy) -> bool:
    """Whether the caller whose request became the process may cancel it, as far as access goes."""
    who = _cancellers(process.caller, access)
    return who == "anyone" or (who == "caller" and process.caller is not None)


def foreign_page(request: Request, process: Process, access: AccessPolicy, trusted: Callable[[bytes], bool]) -> bool:
    """Whether a request may come from a page of another origin, with a cookie that the browser added by itself.

    ``trusted``: whether the policy names an origin.
    """
    found = presented(request, access)
    if found is not None and not found.source.startswith("cookie:"):
        return False
    if found is None and (access.authorize is None or request.field(b"cookie") is None):
        return False  # nor is it a cookie by which the upstream would let it in
    origin = request.field(b"origin")
    return origin is None or (origin != _origin(process.base) and not trusted(origin))


def challenge(access: AccessPolicy) -> bytes:
    """The ``WWW-Authenticate`` value that asks for an identity (RFC 9110 section 11.6.1)."""
    if any(source.lower() == "header:authorization" or source.startswith("jwt:") for source in access.identity):
        return b"Bearer"
    if "basic:user" in access.identity:
        return b'Basic realm="processes", charset="UTF-8"'
    # No registered scheme says "send this header"; a scheme of our own at least tells a person what to send.
    return b'Strangler identity="%b"' % " ".join(access.identity).encode().replace(b'"', b"")


def vary(access: AccessPolicy) -> bytes:
    """The ``Vary`` value: the header fields that an identity may stand in; empty where it stands in none."""
    names: list[str] = []
    for source in access.identity:
        kind, _, name = source.partition(":")
        if kind == "header":
            _add(names, name)
        elif kind in ("jwt", "basic"):
            _add(names, "Authorization")
        elif kind == "cookie":
            _add(names, "Cookie")
    if access.authorize is not None:
        _add(names, "Authorization")
        _add(names, "Cookie")
    return ", ".join(names).encode()


def _add(names: list[str], name: str) -> None:
    if name.lower() not in (known.lower() for known in names):
        names.append(name)


def _cancellers(caller: str | None, access: AccessPolicy) -> str:
    return access.cancel or ("caller" if _readers(caller, access) == "caller" else "nobody")


def _readers(caller: str | None, access: AccessPolicy) -> str:
    return access.read or ("caller" if caller is not None else "anyone")


def _origin(base: str) -> bytes:
    """Scheme and authority of a URL, as a browser sends them (RFC 6454 section 6.2)."""
    scheme, _, rest = base.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}".encode()
