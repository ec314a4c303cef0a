from __future__ import annotations

import pytest

from strangler.config.linear import why_not


@pytest.mark.parametrize(
    "pattern",
    [
        "^P-[0-9]{4}$",
        "^[A-Za-z0-9-]{1,64}$",
        "^[a-z]+(-[a-z]+)*$",
        r"^(\d+,)*\d+$",
        r"^(?:[a-z0-9]+\.)+[a-z]{2,}$",
        r"^[\w.+-]+@[\w-]+\.[\w.-]+$",
        r"^\s*\S+\s*$",
        "^.*x.*y$",
        "(foo|bar)+",
        "([A-Z]{2}[0-9]{1,3}){2}",
        "(-[a-z]+[0-9]+)+",
        "^[äöü→]+$",
        "(?>a+b)c++d",
        "(?:(?!0)a|(b)c|^d)+",
        "^(?!0)[0-9]+$",
        "a{2,3}b?",
        r"(\d|5)+",
        "",
    ],
)
def test_usual_patterns_are_trusted(pattern: str) -> None:
    assert why_not(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(a+)+$", "a repeat within a repeat"),
        ("(.*)*", "a repeat within a repeat"),
        (r"(\w+\s?)*$", "a repeat within a repeat"),
        ("([a-z]+|-)*x", "a repeat within a repeat"),
        ("(a?){30}a{30}", "a repeat within a repeat"),
        ("((a{1,5}){1,5}){1,50}", "repeat"),
        ("(-a*a*)+", "a repeat of repeats that can take the same characters"),
        ("([^-]-?[→]*)+", "repeat"),
        ("(a|ab)*c", "alternatives that can begin alike"),
        ("(|a)+", "alternatives that can begin alike"),
        (r"(\d|5x)+", "alternatives that can begin alike"),
        ("(.|[^x])+", "alternatives that can begin alike"),
        ("^(a*)(a*)(a*)$", "too many repeats"),
        (r".*\w*[a-z]+!", "too many repeats"),
        ("((a+){2}){2}", "too many repeats"),
        (r"(a)\1", "a back reference"),
        ("(?i)(aA+)+", "flags within a pattern"),
        ("a(?i:b)", "flags within a pattern"),
        ("((a?)b|(c))+", "alternatives that can begin alike"),
        ("(?P<x>a)?(?(x)b|c)", "a back reference"),
        ("(?=.*x)a", "lookaround with a repeat in it"),
        ("(?<!a)(?!b*)c", "lookaround with a repeat in it"),
        ("[", "not a regular expression"),
        ("a" * 3000, "longer than 2000 characters"),
        ("(" * 1500 + ")" * 500, "not a regular expression"),
    ],
)
def test_patterns_that_may_take_very_long_are_not(pattern: str, reason: str) -> None:
    assert reason in (why_not(pattern) or "")
