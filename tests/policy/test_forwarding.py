"""What the upstream is asked for, where the policy names another place than the client did."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strangler.domain.exchange import Peer
from strangler.policy.forwarding import forwarding_fields, owned, upstream_target
from strangler.policy.model import Rewrite
from strangler.policy.target import normal
from strangler.policy.upstreams import Forward, Upstream


@pytest.mark.parametrize(
    ("target", "strip", "add", "base", "sent"),
    [
        (b"/a//b/../%2Fc?d", "", "", "", b"/a//b/../%2Fc?d"),
        (b"/claims/7?x=1", "/claims", "", "", b"/7?x=1"),
        (b"/claims", "/claims", "", "", b"/"),
        (b"/claims?x=1", "/claims", "", "", b"/?x=1"),
        (b"/claimsmen/7", "/claims", "", "", b"/claimsmen/7"),
        (b"/old/claims", "/claims", "", "", b"/old/claims"),
        (b"/claims", "", "/v2", "", b"/v2/claims"),
        (b"/claims/7", "/claims", "/v2", "", b"/v2/7"),
        (b"/claims?x=1", "/claims", "/v2", "", b"/v2?x=1"),
        (b"/claims", "", "", "/app", b"/app/claims"),
        (b"/claims/7", "/claims", "/v2", "/app", b"/app/v2/7"),
        (b"*", "/claims", "/v2", "/app", b"*"),
        # The prefix is taken in whatever spelling it came, and what follows stays as it is.
        (b"/api/%61/x%20y?%61", "/api/a", "", "", b"/x%20y?%61"),
        (b"/api/%61", "/api/a", "/v2", "", b"/v2"),
        (b"//api/.//a//x/%2e", "/api/a", "", "", b"//x/%2e"),
        (b"/other/../api/a/%7Ex", "/api/a", "", "", b"/%7Ex"),
        (b"/api/a/../a/x", "/api/a", "", "", b"/x"),
        (b"/api/a/x/..", "/api/a", "", "", b"/x/.."),
        (b"/\xc3\xbc/x", "/%c3%bc", "", "", b"/x"),
        (b"/%C3%BC/x", "/ü", "", "", b"/x"),
        # What only seems to begin with it does not.
        (b"/api/a/../c", "/api/a", "", "", b"/api/a/../c"),
        (b"/api/a/%2E%2E/c", "/api/a", "", "", b"/api/a/%2E%2E/c"),
        (b"/api/a%2Fx", "/api/a", "", "", b"/api/a%2Fx"),
    ],
)
def test_prefix_and_base_path_are_what_changes_of_a_target(
    target: bytes, strip: str | None, add: str, base: str, sent: bytes
) -> None:
    upstream = Upstream(name="legacy", scheme="http", host="legacy", base_path=base)
    assert upstream_target(target, Rewrite(strip_prefix=strip, add_prefix=add), upstream) == sent


SEGMENTS = st.sampled_from([b"a", b"b", b"%61", b"%2E", b"..", b".", b"", b"a%2Fb"])


@given(st.lists(SEGMENTS, min_size=1, max_size=8))
def test_what_is_left_of_a_path_means_what_follows_the_prefix(segments: list[bytes]) -> None:
    path = b"/" + b"/".join(segments)
    upstream = Upstream(name="legacy", scheme="http", host="legacy")
    sent = upstream_target(path, Rewrite(strip_prefix="/a/b", add_prefix="/v"), upstream)
    meant = normal(path)
    if meant == b"/a/b" or meant.startswith(b"/a/b/"):
        assert normal(sent) == b"/v" + meant[len(b"/a/b") :]
        assert sent[len(b"/v") :] == path[len(path) - len(sent) + len(b"/v") :]
    else:
        assert sent == b"/v" + path


SAID = {
    b"x-forwarded-for": b"192.0.2.1",
    b"x-forwarded-proto": b"https",
    b"x-forwarded-host": b"public.example",
    b"forwarded": b"for=192.0.2.1",
    b"via": b"1.0 fred",
}
ALL = Forward(x_forwarded=True, forwarded=True, via=True)


@pytest.mark.parametrize(
    ("trusted", "fields"),
    [
        (
            True,
            [
                (b"X-Forwarded-For", b"192.0.2.1, 10.0.0.1"),
                (b"X-Forwarded-Proto", b"https"),
                (b"X-Forwarded-Host", b"public.example"),
                (b"Forwarded", b'for=192.0.2.1, for=10.0.0.1;host="h";proto=http'),
                (b"Via", b"1.0 fred, 1.1 strangler"),
            ],
        ),
        (
            False,
            [
                (b"X-Forwarded-For", b"10.0.0.1"),
                (b"X-Forwarded-Proto", b"http"),
                (b"X-Forwarded-Host", b"h"),
                (b"Forwarded", b'for=10.0.0.1;host="h";proto=http'),
                (b"Via", b"1.0 fred, 1.1 strangler"),
            ],
        ),
    ],
)
def test_what_a_trusted_peer_says_is_extended_and_of_any_other_replaced(
    trusted: bool, fields: list[tuple[bytes, bytes]]
) -> None:
    assert forwarding_fields(SAID, b"h", Peer("10.0.0.1", 4711), ALL, trusted=trusted, old=False) == fields


@pytest.mark.parametrize(
    ("address", "tls", "host", "fields"),
    [
        (
            "",  # of a Unix socket
            True,
            b"h",
            [
                (b"X-Forwarded-For", b"unknown"),
                (b"X-Forwarded-Proto", b"https"),
                (b"X-Forwarded-Host", b"h"),
                (b"Forwarded", b'for=unknown;host="h";proto=https'),
            ],
        ),
        (
            "2001:db8::1",
            False,
            b"",
            [
                (b"X-Forwarded-For", b"2001:db8::1"),
                (b"X-Forwarded-Proto", b"http"),
                (b"Forwarded", b'for="[2001:db8::1]";proto=http'),
            ],
        ),
    ],
)
def test_what_is_not_known_is_not_made_up_and_an_ipv6_address_is_quoted(
    address: str, tls: bool, host: bytes, fields: list[tuple[bytes, bytes]]
) -> None:
    forward = Forward(x_forwarded=True, forwarded=True, via=False)
    assert forwarding_fields({}, host, Peer(address, 0, tls=tls), forward, trusted=False, old=False) == fields


def test_only_the_fields_that_we_set_are_ours() -> None:
    x_forwarded = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
    assert owned(ALL) == {*x_forwarded, b"forwarded", b"via"}
    assert owned(Forward(x_forwarded=True, forwarded=False, via=False)) == x_forwarded
    assert owned(Forward(x_forwarded=False, forwarded=True, via=False)) == {b"forwarded"}
    assert owned(Forward(x_forwarded=False, forwarded=False, via=True)) == {b"via"}
    silent = Forward(x_forwarded=False, forwarded=False, via=False)
    assert forwarding_fields(SAID, b"h", Peer("10.0.0.1", 1), silent, trusted=True, old=False) == []


def test_via_says_in_which_version_a_request_came() -> None:
    via = Forward(x_forwarded=False, forwarded=False, via=True)
    for old, said in ((True, b"1.0 fred, 1.0 strangler"), (False, b"1.0 fred, 1.1 strangler")):
        assert forwarding_fields(SAID, b"h", Peer("10.0.0.1", 1), via, trusted=False, old=old) == [(b"Via", said)]
