"""The public base of URLs: configured, told by a trusted proxy, or a Host that we are known by; never a foreign one."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from strangler.domain.exchange import Header, Peer
from strangler.gateway.urls import Site, public_base
from strangler.policy.trust import TrustedNetworks
from tests.gateway.scene import a_request

PROXY = "10.0.0.9"
CLIENT = "192.0.2.7"
TRUSTED = TrustedNetworks([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
LISTENS = ("127.0.0.1:8080", "0.0.0.0:8081", "[::1]:8080")
HOSTS = ("api.example.org", "*.tenants.example.org")


def base(*headers: Header, peer: str = CLIENT, tls: bool = False, local: str = "10.0.0.1:8081", **site: object) -> str:
    """The base for a request on a route with `HOSTS`."""
    request = a_request("POST", "/claims", *headers, peer=Peer(peer, 40000, tls=tls, local=local))
    given = {"trusted": TRUSTED, "listens": LISTENS, **site}
    return public_base(request, Site(**given), hosts=HOSTS)  # type: ignore[arg-type]


def host(value: str) -> Header:
    return b"Host", value.encode()


def test_what_is_configured_wins_and_the_routes_own_over_the_settings() -> None:
    request = a_request("POST", "/", host("evil.example"), (b"Forwarded", b"host=evil.example"), peer=Peer(PROXY, 1))
    site = Site("https://public.example/v1/", TRUSTED, LISTENS)

    assert public_base(request, site) == "https://public.example/v1"
    assert public_base(request, site, route_url="https://tenant.example/") == "https://tenant.example"


@pytest.mark.parametrize(
    "known",
    [
        "api.example.org",
        "API.Example.Org",
        "a.tenants.example.org",
        "api.example.org:8081",
        "127.0.0.1:8080",
        "[::1]:8080",
        "localhost:8080",
        "10.0.0.1:8081",
    ],
)
def test_a_host_that_we_are_known_by_is_taken(known: str) -> None:
    assert base(host(known)) == f"http://{known.lower()}"


@pytest.mark.parametrize("loopback", ["127.0.0.1:8080", "[::1]:8080"])
def test_localhost_is_either_loopback_address(loopback: str) -> None:
    assert base(host("localhost:8080"), listens=(loopback,)) == "http://localhost:8080"
    assert base(host("evil.example:8080"), listens=(loopback,)) == "http://10.0.0.1:8081"


@pytest.mark.parametrize(
    "foreign",
    [
        "evil.example",
        "api.example.org.evil.example",
        "evil.example#api.example.org",
        "api.example.org@evil.example",
        "api.example.org:6666",
        "evil.example:8080",
        "api.example.org:",
        "tenants.example.org",
        "127.0.0.1:9090",
        "localhost:9090",
        "api.example.org/x",
        "api.example.org, evil.example",
        "[::1",
        "",
        "é.example.org",
    ],
)
def test_a_poisoned_host_is_never_spoken_of(foreign: str) -> None:
    assert base(host(foreign)) == "http://10.0.0.1:8081"


def test_without_a_host_the_address_of_our_end_serves() -> None:
    assert base() == "http://10.0.0.1:8081"
    assert base(local="") == "http://localhost"


def test_over_tls_the_base_is_https() -> None:
    assert base(host("api.example.org"), tls=True) == "https://api.example.org"
    assert base(host("api.example.org:443"), tls=True) == "https://api.example.org:443"
    assert base(host("api.example.org:80"), tls=True) == "http://10.0.0.1:8081".replace("http", "https")


def test_a_peer_that_is_not_trusted_is_not_believed() -> None:
    lies = [(b"X-Forwarded-Host", b"evil.example"), (b"Forwarded", b"host=evil.example;proto=https")]

    assert base(host("api.example.org"), *lies) == "http://api.example.org"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"X-Forwarded-Proto", b"https"), (b"X-Forwarded-Host", b"Public.example")], "https://public.example"),
        ([(b"X-Forwarded-Host", b"public.example:8443"), (b"X-Forwarded-Prefix", b"/legacy/")], "http://public.example:8443/legacy"),
        ([(b"X-Forwarded-Proto", b"https"), host("api.example.org")], "https://api.example.org"),
        ([(b"Forwarded", b'for=192.0.2.7;proto=HTTPS;host="public.example"')], "https://public.example"),
        ([(b"Forwarded", b"for=192.0.2.7; Proto=https ;Host=public.example"), (b"X-Forwarded-Prefix", b"/v1")], "https://public.example/v1"),
        ([(b"Forwarded", b'for="[2001:db8::1]:4711";host="[2001:db8::2]:8443"')], "http://[2001:db8::2]:8443"),
    ],
)  # fmt: skip
def test_a_trusted_proxy_is_believed(headers: list[Header], expected: str) -> None:
    assert base(*headers, peer=PROXY) == expected
    assert base(*headers, peer="fd00::7") == expected
    assert base(*headers, peer="::ffff:10.0.0.9") == expected


@pytest.mark.parametrize(
    "header",
    [
        (b"X-Forwarded-Host", b"evil.example/path"),
        (b"X-Forwarded-Host", b"a b"),
        (b"X-Forwarded-Proto", b"javascript"),
        (b"X-Forwarded-Prefix", b"//evil.example"),
        (b"X-Forwarded-Prefix", b"/../x"),
        (b"X-Forwarded-Prefix", b'/"><script>'),
        (b"X-Forwarded-Prefix", b"no-slash"),
        (b"Forwarded", b'host="evil.example/x";proto="a b"'),
        (b"Forwarded", b'";,=,host'),
        (b"Forwarded", b""),
    ],
)
def test_nonsense_of_a_trusted_proxy_is_left_out(header: Header) -> None:
    assert base(host("api.example.org"), header, peer=PROXY) == "http://api.example.org"


def test_what_the_client_told_our_proxy_before_it_appended_its_own_is_not_believed() -> None:
    told = [
        (b"X-Forwarded-For", b"6.6.6.6, 192.0.2.7"),
        (b"X-Forwarded-Host", b"evil.example, public.example"),
        (b"X-Forwarded-Proto", b"http, https"),
    ]

    assert base(*told, peer=PROXY) == "https://public.example"
    assert base((b"Forwarded", b"host=evil.example, for=192.0.2.7;host=public.example"), peer=PROXY) == (
        "http://public.example"
    )


def test_behind_two_proxies_of_ours_the_outer_one_has_the_word() -> None:
    told = [
        (b"X-Forwarded-For", b"6.6.6.6, 192.0.2.7, 10.0.0.8"),
        (b"X-Forwarded-Host", b"evil.example, public.example, inner.example"),
        (b"X-Forwarded-Proto", b"http, https, http"),
    ]
    forwarded = (
        b'host=evil.example, for=192.0.2.7;host=public.example;proto=https, for="10.0.0.8:99";host=inner.example'
    )

    assert base(*told, peer=PROXY) == "https://public.example"
    assert base((b"Forwarded", forwarded), peer=PROXY) == "https://public.example"


@pytest.mark.parametrize("inner", [b"10.0.0.8", b'"10.0.0.8:99"', b'"[fd00::8]"', b'"[fd00::8]:99"'])
def test_an_outer_proxy_of_ours_is_known_by_the_address_that_the_inner_one_says(inner: bytes) -> None:
    forwarded = b"for=192.0.2.7;host=public.example, for=%b;host=inner.example" % inner

    assert base((b"Forwarded", forwarded), peer=PROXY) == "http://public.example"


def test_a_value_that_the_outer_proxy_alone_wrote_is_taken() -> None:
    told = [(b"X-Forwarded-For", b"192.0.2.7, 10.0.0.8"), (b"X-Forwarded-Host", b"public.example")]

    assert base(*told, peer=PROXY) == "http://public.example"


def test_where_nobody_is_trusted_nobody_is_believed() -> None:
    nobody = TrustedNetworks()

    assert not nobody.peer(Peer("127.0.0.1", 1))
    assert not TRUSTED.address("not an address")
    assert not TRUSTED.peer(Peer("", 0))  # a Unix socket
    assert base((b"X-Forwarded-Host", b"public.example"), peer=PROXY, trusted=nobody) == "http://10.0.0.1:8081"
