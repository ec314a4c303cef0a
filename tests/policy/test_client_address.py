"""The address of a client behind our own proxies: what the outermost of them saw, and nothing that a client made up."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from strangler.domain.exchange import Header, Peer, Request
from strangler.policy.client_address import client_address, forwarded_elements
from strangler.policy.trust import NOBODY, TrustedNetworks
from tests.engine.world import Pieces

TRUSTED = TrustedNetworks([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
FOR = b"X-Forwarded-For"


def address(*headers: Header, peer: str = "10.0.0.1", trusted: TrustedNetworks = TRUSTED) -> str | None:
    request = Request("GET", b"/", headers, Peer(peer, 40000), Pieces(), has_body=False, content_length=None)
    return client_address(request, trusted)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(FOR, b"192.0.2.7")], "192.0.2.7"),
        ([(FOR, b"198.51.100.1, 192.0.2.7")], "192.0.2.7"),
        ([(FOR, b"198.51.100.1, 192.0.2.7, 10.0.0.2")], "192.0.2.7"),
        ([(FOR, b"198.51.100.1"), (FOR, b"192.0.2.7")], "192.0.2.7"),
        ([(FOR, b"10.1.1.1, 10.0.0.2")], "10.1.1.1"),
        ([(FOR, b"192.0.2.7:4711")], "192.0.2.7"),
        ([(FOR, b"2001:DB8::1")], "2001:db8::1"),
        ([(FOR, b"[2001:db8::1]:4711")], "2001:db8::1"),
        ([(FOR, b"::ffff:192.0.2.7")], "192.0.2.7"),
        ([(b"Forwarded", b'for=198.51.100.1, for="[2001:db8::1]:4711";proto=https, for=10.0.0.2')], "2001:db8::1"),
        ([(b"Forwarded", b"for=192.0.2.7"), (FOR, b"198.51.100.1")], "192.0.2.7"),
        ([], "10.0.0.1"),
        ([(FOR, b"")], "10.0.0.1"),
    ],
)
def test_of_a_trusted_proxy_it_is_what_the_outermost_one_saw(headers: list[Header], expected: str) -> None:
    assert address(*headers) == expected


@pytest.mark.parametrize("told", [b"unknown", b"192.0.2.7, unknown", b"_hidden", b"192.0.2.7, , 10.0.0.2", b"\xff"])
def test_what_a_proxy_does_not_tell_nobody_knows(told: bytes) -> None:
    assert address((FOR, told)) is None


def test_who_is_not_trusted_speaks_for_itself_alone() -> None:
    lies = [(FOR, b"198.51.100.1"), (b"Forwarded", b"for=198.51.100.1")]
    assert address(*lies, peer="192.0.2.7") == "192.0.2.7"
    assert address(*lies, trusted=NOBODY) == "10.0.0.1"


def test_a_client_at_a_unix_socket_has_none() -> None:
    assert address(peer="") is None


@pytest.mark.parametrize("field", ["a" * 500_000, 'a="' + "b" * 500_000, "for=" * 100_000, '"\\' * 200_000])
def test_what_is_long_and_no_forwarded_is_read_in_one_go(field: str) -> None:
    """Letter by letter anew it would take hours; `timeout` ends it."""
    assert all(len(element) <= 1 for element in forwarded_elements(field))
