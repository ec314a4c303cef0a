from __future__ import annotations

from typing import Any

import pytest

from strangler.config.document import MAX_BYTES, read_document
from strangler.config.located import PolicyErrors

HINT = 'quote values that hold { } * or @, as in path: "/claims/{id}"'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("no", "no"),
        ("null", None),
        ("~", None),
        ("", None),
        ("2026-01-31", "2026-01-31"),
        ("12:30:00", "12:30:00"),
        ("1_000", "1_000"),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("-3", -3),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("=", "="),
        ("'12'", "12"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("!!int 12", 12),
        ("/claims/{id}", "/claims/{id}"),
        ("${env:X}", "${env:X}"),
        ("9" * 101, "9" * 101),
    ],
)
def test_scalars_are_those_of_the_core_schema(text: str, value: Any) -> None:
    found = read_document(f"key: {text}\n".encode(), "f").plain()["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "f:1:1: the file is empty; remove it, or write {} if nothing is meant"),
        (b"# nothing\n", "f:1:1: the file is empty; remove it, or write {} if nothing is meant"),
        (b"a: 1\nb: \xff\n", "f:2:4: not UTF-8"),
        (b"a:\n\tb: 1\n", "f:2:1: a tab; YAML is indented with spaces"),
        (b"a: b\tc\n", "f:1:5: a tab; YAML is indented with spaces"),
        (b"a: 1\nb: 2\na: 3\n", "f:3:1: a: the key a stands there twice, first at line 1"),
        (b"a: {b: 1, b: 2}\n", "f:1:11: a.b: the key b stands there twice, first at line 1"),
        (b"a: 1\n1: 2\n", 'f:2:1: a key has to be text; write "1" in quotes'),
        (b"true: 2\n", 'f:1:1: a key has to be text; write "true" in quotes'),
        (b"a: [{1: 2}]\n", 'f:1:6: a[0]: a key has to be text; write "1" in quotes'),
        (b"? {a: 1}\n: 2\n", f"f:1:3: a key has to be text; {HINT}"),
        (b"a: &x [*x]\n", "f:1:4: a[0]: an anchor that holds itself"),
        (
            b"a: !!python/object:os.system {}\n",
            "f:1:4: a: the tag tag:yaml.org,2002:python/object:os.system is not taken",
        ),
        (b"a: !secret x\n", "f:1:4: a: the tag !secret is not taken here"),
        (b"a: !!timestamp 2020-01-01\n", "f:1:4: a: the tag tag:yaml.org,2002:timestamp is not taken here"),
        (b'a: "x\\ud800"\n', "f:1:4: a: half of a surrogate pair is no character; write the whole one"),
        (b'"\\udfff": 1\n', "f:1:1: half of a surrogate pair is no character; write the whole one"),
        (b"a: \x01\n", "f:1:4: a character that YAML does not allow"),
        (b"a: @x\n", HINT),
        (b"a: *\n", HINT),
        (b"a: {p: /x/{y}}\n", HINT),
        (b"a: *nobody\n", HINT),
        (b"a: b: c\n", "f:1:5: not YAML"),
        (b"--- {}\n--- {}\n", "f:2:1: not YAML"),
        (b"[" * 100, "f:1:61: not YAML: nested more than 60 deep"),
        (
            b"a: 'x\nb: 1\n",
            "f:3:1: not YAML: while scanning a quoted scalar found unexpected end of stream (it begins at line 1)",
        ),
        (b"a:\n  b: 1\n c: 2\n", "; what belongs together begins in the same column"),
        (b"#" * (MAX_BYTES + 1), f"f: more than {MAX_BYTES} bytes; share it out over several files"),
    ],
)
def test_what_is_refused_says_where_and_why(data: bytes, said: str) -> None:
    with pytest.raises(PolicyErrors) as raised:
        read_document(data, "f")
    assert said in str(raised.value)


def test_anchors_that_explode_are_refused_and_useful_ones_are_not() -> None:
    assert read_document(b"a: &x {k: 1}\nb: *x\n", "f").plain() == {"a": {"k": 1}, "b": {"k": 1}}
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )
    with pytest.raises(PolicyErrors, match="explodes"):
        read_document(bomb.encode(), "f")


def test_a_byte_order_mark_and_windows_line_ends_are_taken() -> None:
    assert read_document(b"\xef\xbb\xbfa: 1\r\nb: x\r\n", "f").plain() == {"a": 1, "b": "x"}


def test_all_duplicate_keys_are_told_together() -> None:
    with pytest.raises(PolicyErrors) as raised:
        read_document(b"a: 1\na: 2\nb: {c: 1, c: 2}\n", "f")
    assert len(raised.value.findings) == 2


def test_values_know_where_they_stand() -> None:
    node = read_document(b"a:\n  - b: c\n", "f").at(("a", 0, "b"))
    assert str(node.place) == "f:2:8"
    assert str(node.named_at) == "f:2:5"
