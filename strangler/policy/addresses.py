"""Which addresses a callback may go to: public ones, and the private ranges that the policy names.

The ranges are those of the IANA registries of special-purpose addresses (RFC 6890 and its followers) by hand: the
tables of Python's `ipaddress` differ from version to version, and have no word for why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_V4 = tuple(
    (IPv4Network(text), reason)
    for text, reason in (
        ("0.0.0.0/8", "an address of this network"),
        ("10.0.0.0/8", "a private address"),
        ("100.64.0.0/10", "an address behind a carrier's NAT"),
        ("127.0.0.0/8", "a loopback address"),
        ("169.254.0.0/16", "a link-local address"),
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.0/24", "an address of a protocol"),
        ("192.0.2.0/24", "an address of documentation"),
        ("192.31.196.0/24", "an address of a protocol"),
        ("192.52.193.0/24", "an address of a protocol"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "a private address"),
        ("192.175.48.0/24", "an address of a protocol"),
        ("198.18.0.0/15", "an address of benchmarks"),
        ("198.51.100.0/24", "an address of documentation"),
        ("203.0.113.0/24", "an address of documentation"),
        ("240.0.0.0/4", "a reserved address"),
    )
)
_V6 = tuple(
    (IPv6Network(text), reason)
    for text, reason in (
        ("::1/128", "a loopback address"),
        ("100::/64", "an address that discards"),
        ("2001:2::/48", "an address of benchmarks"),
        ("2001:db8::/32", "an address of documentation"),
        ("2001::/23", "an address of a protocol"),
        ("2620:4f:8000::/48", "an address of a protocol"),
        ("3fff::/20", "an address of documentation"),
        ("5f00::/16", "an address of segment routing"),
        ("fc00::/7", "a private address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a private address"),
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")  # all that has been given to anybody (RFC 4291 section 2.4)

_METADATA = "where a cloud tells machines their secrets"
_NEVER = tuple(
    (ip_network(text), reason)
    for text, reason in (
        ("169.254.169.254", _METADATA),  # of most of them
        ("169.254.169.253", _METADATA),
        ("169.254.170.2", _METADATA),
        ("169.254.170.23", _METADATA),
        ("100.100.100.200", _METADATA),
        ("168.63.129.16", _METADATA),
        ("192.0.0.192", _METADATA),
        ("fd00:ec2::23", _METADATA),
        ("fd00:ec2::253", _METADATA),
        ("fd00:ec2::254", _METADATA),
        ("fd20:ce::254", _METADATA),
        ("0.0.0.0/32", "the unspecified address"),
        ("::", "the unspecified address"),
        ("255.255.255.255", "the broadcast address"),
        ("224.0.0.0/4", "a multicast address"),
        ("ff00::/8", "a multicast address"),
    )
)
"""What no policy can open: nobody who is called back lives there."""

_EMBEDDING = tuple(
    (IPv6Network(text), shift, reason)
    for text, shift, reason in (
        ("64:ff9b::/96", 0, "an address behind NAT64"),  # RFC 6052
        ("64:ff9b:1::/48", 0, "an address behind NAT64"),  # RFC 8215; most often /96 below it
        ("2002::/16", 80, "a 6to4 address"),  # RFC 3056
        ("::ffff:0:0:0/96", 0, "a translated IPv4 address"),  # RFC 2765
        ("::/96", 0, "an IPv4-compatible address"),  # RFC 4291 section 2.5.5.1
    )
)
_TEREDO = IPv6Network("2001::/32")  # RFC 4380: the client's address stands in it with all bits turned


def judge(address: Address, networks: Iterable[Network], *, plain: bool) -> str | None:
    """Why a callback may not go to an address, over TLS or (``plain``) without; None: it may."""
    networks = tuple(networks)
    reason = forbidden(address, networks)
    if reason is None and plain and not any(address in network for network in networks):
        return "outside of `networks`, and plain http is for these only"
    return reason


def forbidden(address: Address, networks: Iterable[Network] = ()) -> str | None:
    """Why a callback may not go to an address; None: it may. ``networks`` are private ranges that it may go to.

    An IPv6 address that stands for an IPv4 one is judged by both.
    """
    address = _plain(address)
    networks = tuple(networks)
    reason = _found(_NEVER, address)
    if reason is not None:
        return reason
    if not any(address in network for network in networks):
        return _not_public(address)
    for embedded in _embedded(address):
        # Opening the range of a translator is not opening all that it leads to.
        if (reason := forbidden(embedded, networks)) is not None:
            return f"one that leads to {reason}"
    return None


def _plain(address: Address) -> Address:
    """The address as it is connected to: without a zone; an IPv4-mapped one is an IPv4 one."""
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or IPv6Address(int(address))


def _not_public(address: Address) -> str | None:
    if isinstance(address, IPv4Address):
        return _found(_V4, address)
    for network, _, reason in _EMBEDDING:
        if address in network and address != IPv6Address("::1"):
            return reason
    if address in _TEREDO:
        return "a Teredo address"
    return _found(_V6, address) or (None if address in _GLOBAL_V6 else "an address that is nobody's")


def _embedded(address: Address) -> Iterator[IPv4Address]:
    if isinstance(address, IPv4Address):
        return
    for network, shift, _ in _EMBEDDING:
        if address in network and int(address) > 1:
            yield IPv4Address(int(address) >> shift & 0xFFFFFFFF)
    if address in _TEREDO:
        yield IPv4Address(~int(address) & 0xFFFFFFFF)


def _found(table: Iterable[tuple[Network, str]], address: Address) -> str | None:
    return next((reason for network, reason in table if address in network), None)
