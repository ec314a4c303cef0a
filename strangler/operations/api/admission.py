"""Who asks, and whether they may: by the token that they present, or by the end of the connection they are at."""

from __future__ import annotations

import ipaddress
import socket

from aiohttp import web

from strangler.operations.api.endpoint import Endpoint, Refusal, Role
from strangler.operations.api.tokens import LOCAL, Holder, Tokens, named

CLAIM = "Strangler-Operator"
"""The header by which the command line says who sits at it; believed of who holds the token of this machine."""

_FORWARDED = ("Forwarded", "X-Forwarded-For")


def admit(endpoint: Endpoint, request: web.Request, tokens: Tokens) -> str | Refusal:
    """Who asks, for the audit log; or why they may not."""
    if endpoint.role is Role.ANYONE:
        return "anyone"
    here = is_local(request)
    presented = request.headers.getall("Authorization", [])
    if presented:
        holder = _holder(presented, tokens)
        if holder is None:
            return Refusal("unauthenticated", "expected Authorization: Bearer and a token that holds")
        if endpoint.changes and holder.role is not Role.OPERATOR:
            return Refusal("forbidden", f"{holder.name} may read; this needs a token of the role operator")
        return _name(holder, request)
    if here and (endpoint.local or not endpoint.changes):
        return "this machine"
    why = "every change needs a token" if here else "from another machine everything needs a token"
    return Refusal("unauthenticated", f"{why}: Authorization: Bearer …; `strangler tokens --help` tells how to get one")


def is_local(request: web.Request) -> bool:
    """Whether somebody on this machine asks: at a Unix socket, or over the loopback and for nobody else."""
    transport = request.transport
    own = transport.get_extra_info("socket") if transport is not None else None
    if transport is None or own is None:
        return False
    if own.family == socket.AF_UNIX:
        return True
    if any(name in request.headers for name in _FORWARDED):
        return False  # a proxy on this machine speaks for who knows whom
    peer = transport.get_extra_info("peername")
    try:
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    except (ValueError, TypeError, IndexError):
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _holder(presented: list[str], tokens: Tokens) -> Holder | None:
    scheme, _, token = presented[0].partition(" ")
    if len(presented) != 1 or scheme.lower() != "bearer" or not token.strip():
        return None
    return tokens.holder(token.strip())


def _name(holder: Holder, request: web.Request) -> str:
    return named(LOCAL, request.headers.get(CLAIM, "")) if holder.name == LOCAL else holder.name
