"""The address of a client: our peer's, or what our own proxies say of who came to them."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

from strangler.domain.exchange import Request
from strangler.policy.trust import TrustedNetworks

# RFC 7239 section 4: forwarded-pair = token "=" value; value = token / quoted-string. A name begins where no other one
# goes on: else each letter of a long one would be tried as its begin.
_PAIR = re.compile(r"(?<![A-Za-z])([A-Za-z]+)=(?:\"((?:[^\"\\]|\\.)*)\"|([!#$%&'*+.^_`|~0-9A-Za-z-]+))")
_ELEMENT = re.compile(r"(?:[^,\"]|\"(?:[^\"\\]|\\.)*\"?)+")


def client_address(request: Request, trusted: TrustedNetworks) -> str | None:
    """The address of whoever came to the outermost of our own proxies; None: nobody knows it.

    What stands before what that proxy wrote could be anyone's invention.
    """
    address = request.peer.address or None
    if not trusted.peer(request.peer):
        return address
    for node in reversed(_nodes(request)):
        address = _canonical(node_address(node))
        if address is None or not trusted.address(address):
            break
    return address


def forwarded_elements(field: str) -> list[dict[str, str]]:
    """The elements of ``Forwarded`` (RFC 7239), in their order: each a parameter's value by its name in small letters.
    A comma within a quoted string does not part them."""
    return [
        {name.lower(): quoted or token for name, quoted, token in _PAIR.findall(element)}
        for element in _ELEMENT.findall(field)
    ]


def node_address(node: str) -> str:
    """The address of ``192.0.2.43:47011``, ``[2001:db8::1]:47011`` or ``2001:db8::1``."""
    if node.startswith("["):
        return node[1:].partition("]")[0]
    return node if node.count(":") > 1 else node.partition(":")[0]


def _nodes(request: Request) -> list[str]:
    """Who came to each of the proxies on the way."""
    forwarded = request.field(b"forwarded")
    if forwarded is not None:
        return [element.get("for", "") for element in forwarded_elements(forwarded.decode("latin-1"))]
    field = request.field(b"x-forwarded-for")
    return [item.strip() for item in field.decode("latin-1").split(",")] if field else []


def _canonical(text: str) -> str | None:
    """An address as it is always written; None: it is none (RFC 7239 section 6: ``unknown``, ``_hidden``)."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
