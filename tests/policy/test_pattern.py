"""What a pattern of a path or a host can be, and whether two of them can meet."""

from __future__ import annotations

import pytest

from strangler.policy.pattern import PathSyntaxError, hosts_overlap, matchable, parse_path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("claims", "begins with /"),
        ("", "begins with /"),
        ("/a?b", "holds no ?"),
        ("/a#b", "holds no #"),
        ("/{x}/{x}", "stands there twice"),
        ("/a{x}", "a whole segment"),
        ("/a}", "a whole segment"),
        ("/a/*/b", "only at the end"),
    ],
)
def test_what_is_no_pattern_of_a_path_is_said(text: str, said: str) -> None:
    with pytest.raises(PathSyntaxError, match=said.replace("?", r"\?")):
        parse_path(text)


@pytest.mark.parametrize("text", ["/", "/*", "/a", "/a/", "/a/*", "/{x}/b", "/caf\u00e9", "/a%2Fb"])
def test_a_pattern_that_some_path_has_in_normal_form_can_match(text: str) -> None:
    assert matchable(text)


@pytest.mark.parametrize("text", ["/a//b", "//", "/a/./b", "/a/../b", "/a//b/*", "/a b", "/a\tb", "/a\x7f"])
def test_a_pattern_that_no_path_has_in_normal_form_can_match_nothing(text: str) -> None:
    assert not matchable(text)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ((), (), True),
        ((), ("a",), True),
        (("a",), ("a",), True),
        (("a",), ("b",), False),
        (("*.a",), ("*.a",), True),
        (("*.a",), ("x.a",), True),
        (("*.a",), ("a",), False),
        (("*.a",), ("*.b.a",), True),
        (("*.a",), ("*.b",), False),
        (("a", "b"), ("c", "b"), True),
    ],
)
def test_two_lists_of_hosts_overlap_where_some_host_is_in_both(
    one: tuple[str, ...], other: tuple[str, ...], overlap: bool
) -> None:
    assert hosts_overlap(one, other) is overlap
    assert hosts_overlap(other, one) is overlap
