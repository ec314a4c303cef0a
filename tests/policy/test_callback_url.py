"""URLs that are called back: one spelling, or none."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from strangler.policy.addresses import forbidden, judge
from strangler.policy.callback_url import AllowedOrigin, CallbackUrl, parse_allowed_origin, parse_callback_url
from tests.channels.callbacks.spellings import ADDRESSES, LOOPBACK, PRIVATE, PUBLIC

LONGEST_NAME = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])  # 253 characters (RFC 1035 section 2.3.4)


@pytest.mark.parametrize(
    ("text", "url", "written"),
    [
        ("https://a.example", CallbackUrl("https", "a.example", 443, "/"), "https://a.example/"),
        ("HTTPS://A.Example:443/X", CallbackUrl("https", "a.example", 443, "/X"), "https://a.example/X"),
        ("https://a.example:8443?q=1", CallbackUrl("https", "a.example", 8443, "/?q=1"), "https://a.example:8443/?q=1"),
        ("http://a.example/", CallbackUrl("http", "a.example", 80, "/"), "http://a.example/"),
        ("https://xn--bcher-kva.example/", CallbackUrl("https", "xn--bcher-kva.example", 443, "/"), None),
        ("https://hook_s.a-b.example/", CallbackUrl("https", "hook_s.a-b.example", 443, "/"), None),
        ("https://8.8.8.8/", CallbackUrl("https", "8.8.8.8", 443, "/"), None),
        ("https://[2001:DB8:0:0::1]:444/", CallbackUrl("https", "2001:db8::1", 444, "/"), "https://[2001:db8::1]:444/"),
        ("https://a.example/%2F/..//b?x=%zz".replace("%zz", "%20"), None, "https://a.example/%2F/..//b?x=%20"),
        ("https://a.example?", CallbackUrl("https", "a.example", 443, "/"), "https://a.example/"),
        (f"https://{LONGEST_NAME}/", CallbackUrl("https", LONGEST_NAME, 443, "/"), None),
        ("https://a.example/" + "x" * 2030, None, "https://a.example/" + "x" * 2030),
        ("https://a.example/x?y?", None, "https://a.example/x?y?"),
        ("https://intranet/", CallbackUrl("https", "intranet", 443, "/"), None),
        ("https://7.example/", CallbackUrl("https", "7.example", 443, "/"), None),
    ],
)
def test_a_url_is_taken_apart_and_written_in_one_way(text: str, url: CallbackUrl | None, written: str | None) -> None:
    found = parse_callback_url(text)
    assert url is None or found == url
    assert str(found) == (written or text)
    assert parse_callback_url(str(found)) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a URL that begins with https://"),
        ("a.example/x", "expected a URL that begins with https://"),
        ("//a.example/x", "expected a URL that begins with https://"),
        ("https:a.example/x", "expected a URL that begins with https://"),
        ("ftp://a.example/", "expected a URL that begins with https://"),
        ("gopher://127.0.0.1:25/", "expected a URL that begins with https://"),
        ("file:///etc/passwd", "expected a URL that begins with https://"),
        ("https://u@a.example/", "it holds credentials"),
        ("https://u:p@a.example/", "it holds credentials"),
        ("https://@a.example/", "it holds credentials"),
        ("https://a.example/#f", "it holds a fragment"),
        ("https://a.example\\@b.example/", "it holds a space, a backslash"),
        ("https://a.example/ x", "it holds a space"),
        ("https://a.example/\n", "it holds a space"),
        ("https://bücher.example/", "a letter outside ASCII"),
        ("https://a.example:/", "its port is not one"),
        ("https://a.example:0/", "its port is not one"),
        ("https://a.example:65536/", "its port is not one"),
        ("https://a.example:0443/", "its port is not one"),
        ("https://a.example:443x/", "its port is not one"),
        ("https://a.example:44:3/", "its port is not one"),
        ("https://a.example.:443/", "without one at the end"),
        ("https://a..example/", "its host is not a name"),
        ("https://-a.example/", "its host is not a name"),
        ("https://a%2e.example/", "its host is not a name"),
        ("https://" + "a" * 64 + ".example/", "its host is not a name"),
        ("https://" + LONGEST_NAME + "a/", "its host is not a name"),
        ("https://*.example/", "its host is not a name"),
        ("https:///x", "its host is not a name"),
        ("https://127.1/", "an IPv4 address in another form"),
        ("https://1.2.3.4.5/", "an IPv4 address in another form"),
        ("https://256.1.1.1/", "an IPv4 address in another form"),
        ("https://a.example.0x7f/", "an IPv4 address in another form"),
        ("https://[::1%25lo]/", "its host is not an IPv6 address (zones"),
        ("https://[1::2::3]/", "its host is not an IPv6 address"),
        ("https://[]/", "its host is not an IPv6 address"),
        ("https://[::1/", "its port is not one"),
        ("https://::1/", "its port is not one"),
        ("https://a.example/%zz", "percent-encoded"),
        ("https://a.example/<x>", "percent-encoded"),
        ("https://a.example/" + "x" * 2031, "longer than 2048"),
    ],
)
def test_what_has_more_than_one_spelling_or_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError) as raised:
        parse_callback_url(text)
    assert said in str(raised.value)


@given(
    st.text(alphabet="aA1.-_:@/\\[]%?#*x0", max_size=40).map(lambda rest: f"https://{rest}")
    | st.text(max_size=60).map(lambda rest: f"https://{rest}")
    | st.sampled_from([*LOOPBACK, *PRIVATE]).map(lambda host: f"https://{host}/")
)
def test_who_calls_reads_the_same_host_and_port_as_who_judged(text: str) -> None:
    try:
        url = parse_callback_url(text)
    except ValueError:
        return
    read = URL(str(url), encoded=True)
    assert (read.scheme, read.raw_host, read.port) == (url.scheme, url.host, url.port)
    assert read.raw_path_qs == url.target
    assert read.user is None


@pytest.mark.parametrize(
    ("origin", "url", "covered"),
    [
        ("https://a.example", "https://a.example/x", True),
        ("https://A.example:443/", "https://a.example/x", True),
        ("https://a.example", "https://a.example:8443/x", False),
        ("https://a.example:8443", "https://a.example:8443/x", True),
        ("https://a.example:8443", "https://a.example/x", False),
        ("https://a.example", "http://a.example/x", False),
        ("https://a.example", "https://b.a.example/x", False),
        ("https://*.a.example", "https://b.a.example/x", True),
        ("https://*.a.example", "https://c.b.a.example/x", True),
        ("https://*.a.example", "https://a.example/x", False),
        ("https://*.a.example", "https://ba.example/x", False),
        ("https://*.a.example", "https://b.a.example.evil/x", False),
        ("https://*", "https://b.example/x", True),
        ("https://*", "https://8.8.8.8/x", True),
        ("https://*", "https://8.8.8.8:444/x", False),
        ("https://*:444", "https://8.8.8.8:444/x", True),
        ("https://[2606:4700::1]", "https://[2606:4700:0::1]/", True),
    ],
)
def test_which_urls_lie_under_an_origin(origin: str, url: str, covered: bool) -> None:
    assert parse_allowed_origin(origin).covers(parse_callback_url(url)) is covered


def test_an_origin_is_written_as_a_policy_has_it() -> None:
    for text in ("https://a.example", "https://*.a.example:8443", "http://*", "https://[2606:4700::1]:444"):
        assert str(parse_allowed_origin(text)) == text
    assert parse_allowed_origin("HTTPS://A.example/") == AllowedOrigin("https", "a.example", 443)


@pytest.mark.parametrize("text", ["https://a.example/x", "https://a.example?", "https://a*.example", "https://*.*"])
def test_what_is_no_origin(text: str) -> None:
    with pytest.raises(ValueError):
        parse_allowed_origin(text)


def test_addresses_that_are_not_public_are_forbidden_and_public_ones_are_not() -> None:
    assert [text for text in ADDRESSES if forbidden(ip_address(text)) is None] == []
    assert [(text, forbidden(ip_address(text))) for text in PUBLIC if forbidden(ip_address(text))] == []


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("64:ff9b::8.8.8.8", None),
        ("64:ff9b::10.0.0.1", "one that leads to a private address"),
        ("64:ff9b:1::10.0.0.1", "one that leads to a private address"),
        ("2002:808:808::1", None),
        ("2002:7f00:1::1", "one that leads to a loopback address"),
        ("2001:0:4136:e378:8000:63bf:f7f7:f7f7", None),  # 8.8.8.8, with all bits turned
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", "one that leads to a loopback address"),
        ("::ffff:0:a9fe:a9fe", "one that leads to where a cloud tells machines their secrets"),
    ],
)
def test_who_opens_a_translator_does_not_open_what_lies_behind_it(address: str, reason: str | None) -> None:
    opened = tuple(
        ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::ffff:0:0:0/96")
    )
    assert forbidden(ip_address(address)) is not None
    assert forbidden(ip_address(address), opened) == reason


def test_networks_open_private_ranges_each_of_them_alone_over_plain_http_too() -> None:
    networks = (ip_network("10.0.0.0/8"), ip_network("::1/128"), ip_network("::/96"))
    for text in ("10.1.2.3", "::1"):
        for plain in (False, True):
            assert judge(ip_address(text), networks, plain=plain) is None
    assert judge(ip_address("8.8.8.8"), networks, plain=False) is None
    assert judge(ip_address("8.8.8.8"), networks, plain=True) == (
        "outside of `networks`, and plain http is for these only"
    )
    assert judge(ip_address("::2"), networks, plain=False) == "one that leads to an address of this network"


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("::1", "a loopback address"),
        ("169.254.169.254", "where a cloud tells machines their secrets"),
        ("2001:0:4136:e378:8000:63bf:f7f7:f7f7", "a Teredo address"),
    ],
)
def test_why_an_address_is_forbidden_is_said_of_the_address_itself(address: str, reason: str, plain: bool) -> None:
    assert judge(ip_address(address), (), plain=plain) == reason


@given(st.ip_addresses())
def test_whatever_python_knows_not_to_be_global_is_forbidden(address: object) -> None:
    found = ip_address(str(address))
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return  # judged as the other one
    if not found.is_global or found.is_multicast or found.is_reserved:
        assert forbidden(found) is not None


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_the_one_that_it_stands_for(address: object) -> None:
    assert forbidden(IPv6Address(f"::ffff:{address}")) == forbidden(ip_address(str(address)))
