"""The matcher against a slow and obvious one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from strangler.policy.match import compile_table
from strangler.policy.model import Match, Route
from strangler.policy.pattern import equally_specific, host_fits
from tests.policy.builders import a_route, a_table

SEGMENTS = st.sampled_from(["a", "b", "{x}", "{y}"])
PATHS = st.builds(
    lambda segments, prefix: "/" + "/".join(segments) + ("/*" if prefix and segments else "*" if prefix else ""),
    st.lists(SEGMENTS, max_size=3, unique=True),
    st.booleans(),
)
METHODS = st.sets(st.sampled_from(["GET", "POST"]), max_size=2)
HOSTS = st.lists(st.sampled_from(["h", "*.h", "*.g.h", "g.h"]), max_size=2, unique=True).map(tuple)
TERMS = st.dictionaries(st.sampled_from(["p", "q"]), st.sampled_from(["*", "1", "1*"]), max_size=2)
ROUTES = st.lists(st.tuples(st.lists(PATHS, min_size=1, max_size=2), METHODS, HOSTS, TERMS, TERMS), max_size=6)


def fitting(pattern: str, path: str) -> tuple[int, ...] | None:
    """How specific a path pattern is, by segment, where it fits: 3 literal, 2 parameter, 1 prefix, 4 the end."""
    rank: list[int] = []
    wanted, given = pattern.split("/")[1:], path.split("/")[1:]
    for index, segment in enumerate(wanted):
        if segment == "*" and index == len(wanted) - 1:
            return (*rank, 1)
        if index == len(given):
            return None
        if segment.startswith("{"):
            if not given[index]:
                return None
            rank.append(2)
        elif segment == given[index]:
            rank.append(3)
        else:
            return None
    return (*rank, 4) if len(wanted) == len(given) else None


def host_rank(match: Match, host: str) -> tuple[int, int] | None:
    if not match.hosts:
        return (0, 0)
    ranks = [(1, len(each)) if each.startswith("*") else (2, 0) for each in match.hosts if host_fits(each, host)]
    return max(ranks, default=None)


def term_fits(term: str, value: str | None) -> bool:
    return value is not None and (value == term or (term.endswith("*") and value.startswith(term[:-1])))


def best(
    routes: list[Route], method: str, host: str, path: str, query: dict[str, str], fields: dict[str, str]
) -> str | None:
    """The name of the route that is to win."""
    found = []
    for route in routes:
        match = route.match
        hosts = host_rank(match, host)
        if hosts is None or (match.methods and method not in match.methods):
            continue
        if not all(term_fits(term, fields.get(name)) for name, term in match.headers.items()):
            continue
        if not all(term_fits(term, query.get(name)) for name, term in match.query.items()):
            continue
        terms = len(match.headers) + len(match.query)
        for pattern in match.paths:
            if (rank := fitting(pattern, path)) is not None:
                found.append(((hosts, rank, bool(match.methods), terms), route.name))
    return max(found)[1] if found else None


def without_rivals(routes: list[Route]) -> list[Route]:
    """Routes of which no two can both win, as the loader makes sure."""
    kept: list[Route] = []
    for route in routes:
        shapes = {shape(path) for path in route.match.paths}
        if all(
            not (shapes & {shape(path) for path in other.match.paths} and equally_specific(route.match, other.match))
            for other in kept
        ):
            kept.append(route)
    return kept


def shape(path: str) -> str:
    return path.replace("{x}", "{}").replace("{y}", "{}")


@given(
    ROUTES,
    st.sampled_from(["GET", "POST", "PUT"]),
    st.sampled_from(["h", "g.h", "x.g.h", "other"]),
    st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=4),
    st.dictionaries(st.sampled_from(["p", "q"]), st.sampled_from(["", "1", "12"]), max_size=2),
    st.dictionaries(st.sampled_from(["p", "q"]), st.sampled_from(["", "1", "12"]), max_size=2),
)
def test_the_matcher_finds_what_the_obvious_one_finds(
    drawn: list[tuple[list[str], set[str], tuple[str, ...], dict[str, str], dict[str, str]]],
    method: str,
    host: str,
    segments: list[str],
    query: dict[str, str],
    fields: dict[str, str],
) -> None:
    routes = without_rivals(
        [
            a_route(f"r{number}", *dict.fromkeys(paths), methods=methods, hosts=hosts, headers=headers, query=terms)
            for number, (paths, methods, hosts, headers, terms) in enumerate(drawn)
        ]
    )
    # An empty segment other than the last would be merged away; that is tried elsewhere.
    path = "/" + "/".join([segment for segment in segments[:-1] if segment] + segments[-1:])
    matched = compile_table(a_table(*routes)).match(
        method,
        host.encode(),
        path.encode(),
        "&".join(f"{name}={value}" for name, value in query.items()).encode() or None,
        {name.encode(): value.encode() for name, value in fields.items()}.get,
    )
    assert (matched.route and matched.route.name) == best(routes, method, host, path, query, fields)


@given(st.binary(max_size=40), st.binary(max_size=20), st.binary(max_size=20))
def test_no_bytes_make_the_matcher_fail(path: bytes, query: bytes, host: bytes) -> None:
    table = a_table(a_route("r", "/a/{x}", "/b/*", query={"q": "*"}), a_route("h", "/*", hosts=("*.h",)))
    matcher = compile_table(table)
    for target in (path, b"/" + path, b"/a/" + path):
        matcher.match("GET", host, target, query, {}.get)
        matcher.resource_at("GET", host, target)
