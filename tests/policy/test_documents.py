"""What expressions see of a request's target and of headers."""

from __future__ import annotations

from typing import Any

import pytest

from strangler.policy.documents import Asked, Read, header_values, request_values
from strangler.policy.expressions import ExpressionError
from strangler.policy.translate import Interpreter
from strangler.policy.wall import RequestTranslation, Wall


def no_hooks(name: str) -> Any:
    raise ExpressionError(name)


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


@pytest.mark.parametrize(
    ("octets", "text"), [(b"caf\xc3\xa9", "caf\u00e9"), (b"caf\xe9", "caf\u00e9"), (b"\xff\xc3", "\u00ff\u00c3")]
)
def test_a_header_is_read_as_utf_8_or_else_octet_by_octet(octets: bytes, text: str) -> None:
    assert header_values([(b"X-Name", octets), (b"x-name", b"b")]) == {"x-name": f"{text}, b"}


def test_a_header_that_a_template_copies_stays_as_it_is() -> None:
    wall = Wall(paths=(), request=RequestTranslation(set_headers=(("X-Copy", '{headers."x-name"}'),)))
    asked = Asked("POST", b"/", [(b"X-Name", b"caf\xc3\xa9")], b"", None, {})
    made = Interpreter(wall, no_hooks).request(asked)
    assert (b"X-Copy", b"caf\xc3\xa9") in made.headers
