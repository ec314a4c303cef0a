from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strangler.policy.target import clear, normal, plain, spelled


@pytest.mark.parametrize(
    ("path", "form"),
    [
        (b"/claims", b"/claims"),
        (b"/%63laims", b"/claims"),
        (b"/a%2fb", b"/a%2Fb"),
        (b"/a//b///c", b"/a/b/c"),
        (b"/a/./b", b"/a/b"),
        (b"/a/../b", b"/b"),
        (b"/a/%2e%2E/b", b"/b"),
        (b"/../../b", b"/b"),
        (b"/a/..", b"/"),
        (b"/a/b/..", b"/a/"),
        (b"/a/.", b"/a/"),
        (b"/a//../b", b"/b"),
        (b"/.well-known/x", b"/.well-known/x"),
        (b"/caf\xc3\xa9", b"/caf%C3%A9"),
        (b"/caf%c3%a9", b"/caf%C3%A9"),
        (b"/100%", b"/100%"),
        (b"/%25%36%31", b"/%2561"),
        (b"/", b"/"),
    ],
)
def test_the_normal_form_of_a_path(path: bytes, form: bytes) -> None:
    assert normal(path) == form


PATHS = st.lists(st.sampled_from([b"/", b".", b"..", b"a", b"%2e", b"%41", b"%2F", b"%", b"\xe9"]), max_size=10)


@given(PATHS)
def test_the_normal_form_has_no_dot_segments_and_no_empty_ones(parts: list[bytes]) -> None:
    segments = normal(b"/" + b"".join(parts)).split(b"/")
    assert not {b".", b".."} & set(segments)
    assert b"" not in segments[1:-1]


@given(PATHS)
def test_a_plain_path_is_in_normal_form(parts: list[bytes]) -> None:
    path = b"/" + b"".join(parts)
    if plain(path):
        assert normal(path) == path == spelled(path)


@pytest.mark.parametrize("path", [b"/a/%zz", b"/a/%", b"/a/%4", b"/a/%%41", b"/a%00b", b"/%GG"])
def test_a_percent_sign_that_encodes_nothing_or_nul_is_not_clear(path: bytes) -> None:
    assert not clear(path)


@pytest.mark.parametrize("path", [b"/", b"/a/b", b"/a%2Fb", b"/%C3%A4", b"/a%2500"])
def test_a_path_that_everyone_decodes_alike_is_clear(path: bytes) -> None:
    assert clear(path)
