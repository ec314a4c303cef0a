"""What expressions see of a request's target."""

from __future__ import annotations

from typing import Any

import pytest

from strangler.policy.documents import Asked, Read, request_values


def seen(target: bytes) -> dict[str, Any]:
    return request_values(Asked("GET", target, [], b"", None, {}), ["/claims/{id}"], Read(None))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (b"caf\xc3\xa9", "caf\u00e9"),
        (b"caf%C3%A9", "caf\u00e9"),
        (b"a%20b", "a b"),
        (b"%ff", r"\xff"),
        (b"\xff", r"\xff"),
        (b"%fe", r"\xfe"),
    ],
)
def test_however_it_is_written_a_value_means_the_same_in_path_and_query(written: bytes, meant: str) -> None:
    document = seen(b"/claims/" + written + b"?k=" + written)
    assert document["path"] == {"id": meant}
    assert document["query"] == {"k": meant}


def test_of_a_query_parameter_that_comes_twice_the_first_value_counts_and_an_empty_one_is_there() -> None:
    assert seen(b"/claims/1?a=1&a=2&&b=&c&%C3%A9=x+y")["query"] == {"a": "1", "b": "", "c": "", "\u00e9": "x y"}
