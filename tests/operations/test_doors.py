"""Who may come in at the private listener."""

from __future__ import annotations

import pytest

from strangler.operations.doors import host_name, host_refusal, origin_refusal


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        ("localhost", "localhost"),
        ("LocalHost:9901", "localhost"),
        ("127.0.0.1:9901", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[::1]:9901", "::1"),
        ("ops.example:", "ops.example"),
        ("", None),
        (":9901", None),
        ("::1", None),
        ("[::1", None),
        ("[::11:80", None),
        ("[localhost]", None),
        ("[127.0.0.1]", None),
        ("localhost:http", None),
        ("localhost:９９０１", None),
        ("[::1]x:80", None),
    ],
)
def test_a_host_header_is_read_without_its_port(authority: str, name: str | None) -> None:
    assert host_name(authority) == name


@pytest.mark.parametrize(
    "authority", ["localhost", "localhost:9901", "127.0.0.1", "127.8.9.1:80", "[::1]:9901", "ops.example"]
)
def test_the_loopback_and_named_hosts_come_in(authority: str) -> None:
    assert host_refusal({"ops.example"}, [authority], "127.0.0.1") is None


@pytest.mark.parametrize(
    "authority",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.0.2.1",
        "0.0.0.0",
        "[::]",
        "",
        "127.1",
        "ops.example.evil",
    ],
)
def test_any_other_name_is_refused(authority: str) -> None:
    assert host_refusal({"ops.example"}, [authority], "127.0.0.1") is not None


def test_none_and_two_host_headers_are_refused() -> None:
    assert host_refusal((), [], "127.0.0.1") is not None
    assert host_refusal((), ["localhost", "localhost"], "127.0.0.1") is not None


@pytest.mark.parametrize(
    ("authority", "local"),
    [("192.0.2.1:9901", "192.0.2.1"), ("[2001:db8::1]", "2001:db8:0::1"), ("192.0.2.1", "::ffff:192.0.2.1")],
)
def test_the_address_of_the_socket_itself_comes_in(authority: str, local: str) -> None:
    assert host_refusal((), [authority], local) is None
    assert host_refusal((), [authority], "192.0.2.99") is not None


def test_on_a_unix_socket_any_host_will_do() -> None:
    assert host_refusal((), ["anything"], None) is None


@pytest.mark.parametrize(
    ("origin", "fetch_site", "authority"),
    [
        (None, None, "localhost:9901"),
        ("http://localhost:9901", "same-origin", "localhost:9901"),
        ("http://LOCALHOST:9901", None, "localhost:9901"),
        (None, "none", "localhost:9901"),
    ],
)
def test_tools_and_our_own_pages_may_change_something(
    origin: str | None, fetch_site: str | None, authority: str
) -> None:
    assert origin_refusal(origin, fetch_site, authority) is None


@pytest.mark.parametrize(
    ("origin", "fetch_site"),
    [
        ("http://evil.example", None),
        ("http://localhost:3000", None),
        ("http://localhost", None),
        ("null", None),
        ("", None),
        ("file://localhost:9901", None),
        ("http://[", None),
        (None, "cross-site"),
        (None, "same-site"),
        (None, ""),
        ("http://localhost:9901", "cross-site"),
        ("http://evil.example", "same-origin"),
    ],
)
def test_pages_of_another_origin_may_not(origin: str | None, fetch_site: str | None) -> None:
    assert origin_refusal(origin, fetch_site, "localhost:9901") is not None
