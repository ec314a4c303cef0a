"""Whose a request is."""

from __future__ import annotations

import pytest

from strangler.domain.exchange import Header, Peer
from strangler.engine.identity import caller_name, identify, source_value
from strangler.policy.model import AccessPolicy
from tests.gateway.scene import a_request

KEY = b"k" * 32


def identity(*headers: Header, target: str = "/", sources: tuple[str, ...] | None = None) -> str | None:
    access = AccessPolicy(identity=sources) if sources is not None else AccessPolicy()
    return identify(a_request("GET", target, *headers), access, KEY)


def test_the_same_identity_is_the_same_hash_and_another_one_another() -> None:
    alice = identity((b"authorization", b"Bearer alice"))

    assert alice == identity((b"Authorization", b"Bearer alice"), (b"Accept", b"*/*"))
    assert alice != identity((b"Authorization", b"Bearer bob"))


def test_the_hash_does_not_show_the_credential_and_depends_on_the_key() -> None:
    request = a_request("GET", "/", (b"Authorization", b"Bearer alice"))
    found = identify(request, AccessPolicy(), KEY)

    assert found is not None
    assert "alice" not in found
    assert found == found.lower()
    assert bytes.fromhex(found)
    assert found != identify(request, AccessPolicy(), b"x" * 32)


def test_the_first_source_that_is_present_decides() -> None:
    both = identity((b"X-Api-Key", b"k1"), (b"Authorization", b"Bearer alice"))

    assert both == identity((b"Authorization", b"Bearer alice"))
    assert identity((b"X-Api-Key", b"k1")) not in (None, both)


def test_an_empty_value_is_no_identity() -> None:
    assert identity((b"Authorization", b"")) is None
    assert identity((b"Authorization", b""), (b"X-Api-Key", b"k1")) == identity((b"X-Api-Key", b"k1"))
    assert identity() is None


def test_the_same_value_from_another_source_is_another_caller() -> None:
    sources = ("header:X-User", "cookie:user", "query:user")

    found = {
        identity((b"X-User", b"alice"), sources=sources),
        identity((b"Cookie", b"user=alice"), sources=sources),
        identity(target="/?user=alice", sources=sources),
    }
    assert len(found) == 3
    assert None not in found


def test_the_spelling_of_a_header_name_in_the_policy_makes_no_other_caller() -> None:
    header = (b"X-Api-Key", b"k1")

    assert identity(header, sources=("header:x-api-KEY",)) == identity(header, sources=("header:X-Api-Key",))


@pytest.mark.parametrize(
    ("source", "headers", "target", "value"),
    [
        ("cookie:sid", [(b"Cookie", b"a=1; sid=s1; sid=s2")], "/", b"s1"),
        ("cookie:sid", [(b"Cookie", b"a=1"), (b"cookie", b"sid=s3")], "/", b"s3"),
        ("cookie:sid", [(b"Cookie", b"SID=s1; xsid=2; sid")], "/", None),
        ("query:k", [], "/a?x=1&k=a%20b+c&k=2", b"a b c"),
        ("query:k", [], "/a?kk=1", None),
        ("query:k", [], "/a", None),
        ("header:X-A", [(b"x-a", b"1"), (b"X-A", b"2")], "/", b"1, 2"),
        ("tls:subject", [], "/", b"CN=broker"),
    ],
)
def test_values_are_found_where_they_stand(
    source: str, headers: list[Header], target: str, value: bytes | None
) -> None:
    peer = Peer("192.0.2.7", 1, tls=True, tls_subject="CN=broker")

    assert source_value(a_request("GET", target, *headers, peer=peer), source) == value


def test_without_a_client_certificate_there_is_no_subject() -> None:
    assert source_value(a_request(), "tls:subject") is None


def test_an_unknown_kind_of_source_is_an_error() -> None:
    with pytest.raises(ValueError, match="basic:user"):
        source_value(a_request(), "basic:user")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"broker-a", "broker-a"),
        ("Müller".encode(), "Müller"),
        (b"a\x1b[31mb\x85", "a[31mb�"),
        (b"x" * 500, "x" * 200),
        (b"", None),
    ],
)
def test_a_callers_label_is_plain_text_of_bounded_length(value: bytes, name: str | None) -> None:
    access = AccessPolicy(name="header:X-Client-Id")

    assert caller_name(a_request("GET", "/", (b"X-Client-Id", value)), access) == name


def test_without_a_policy_or_a_value_there_is_no_label() -> None:
    assert caller_name(a_request("GET", "/", (b"X-Client-Id", b"a")), AccessPolicy()) is None
    assert caller_name(a_request(), AccessPolicy(name="header:X-Client-Id")) is None
