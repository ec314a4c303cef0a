"""Routes that can both win, and routes that lie on process resources."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.config.scene import UPSTREAM, errors, load


def two(one: str, other: str) -> str:
    """A policy of two routes, by what their matches hold."""
    return (
        UPSTREAM
        + "routes:\n"
        + "".join(
            f"  - {{name: {name}, upstream: legacy, match: {{{match}}}}}\n"
            for name, match in (("one", one), ("two", other))
        )
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("path: /a", "path: /a"),
        ("path: '/a/{x}'", "path: '/a/{y}'"),
        ("path: /a/*", "path: [/b, /a/*]"),
        ("path: /a", "path: /%61"),
        ("path: /a, methods: [GET, POST]", "path: /a, methods: [POST, PUT]"),
        ("path: /a, hosts: [x, y]", "path: /a, hosts: [y, z]"),
        ("path: /a, headers: {X: '*'}", "path: /a, headers: {Y: '*'}"),
        ("path: /a, headers: {X: 'a*'}", "path: /a, headers: {X: '*b'}"),
        ("path: /a, headers: {X: '*'}", "path: /a, query: {x: '*'}"),
    ],
)
def test_two_routes_that_can_both_win_are_an_error_that_names_both(tmp_path: Path, one: str, other: str) -> None:
    (found,) = errors(tmp_path, two(one, other))
    assert found.startswith("policy.yaml:4:")
    assert "routes one (" in found
    assert "policy.yaml:3:5) and two can both win a request" in found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("path: /a", "path: '/{x}'"),
        ("path: /a", "path: /a/*"),
        ("path: /a", "path: /a/"),
        ("path: '/a/{x}'", "path: '/a/{x}/b'"),
        ("path: /a, methods: [GET]", "path: /a, methods: [POST]"),
        ("path: /a, methods: [GET]", "path: /a"),
        ("path: /a, hosts: [x]", "path: /a"),
        ("path: /a, hosts: [a.x.org]", "path: /a, hosts: ['*.x.org']"),
        ("path: /a, hosts: ['*.a.x.org']", "path: /a, hosts: ['*.x.org']"),
        ("path: /a, headers: {X: a}", "path: /a, headers: {X: b}"),
        ("path: /a, headers: {X: 'a*'}", "path: /a, headers: {X: 'b*'}"),
        ("path: /a, headers: {X: a}", "path: /a, headers: {X: a, Y: b}"),
        ("path: /a, query: {x: '1'}", "path: /a, query: {x: '2'}"),
    ],
)
def test_two_routes_of_which_one_wins_are_fine(tmp_path: Path, one: str, other: str) -> None:
    assert len(load(tmp_path, two(one, other)).table.routes) == 2


def beside_claims(match: str, hosts: str = "") -> str:
    """A recorded route with its resource /submissions, and another route."""
    return UPSTREAM + textwrap.dedent(f"""\
        routes:
          - {{name: claims, upstream: legacy, mode: async, process: {{resource: /submissions}},
             match: {{path: /claims, methods: [POST]{hosts}}}}}
          - {{name: other, upstream: legacy, match: {{{match}}}}}
    """)


@pytest.mark.parametrize(
    "match",
    [
        "path: /submissions",
        "path: /submissions, methods: [GET]",
        "path: '/submissions/{id}'",
        "path: '/submissions/{id}', methods: [POST]",
        "path: '/submissions/{id}/status'",
        "path: /submissions/*",
        "path: /submissions/events",
        "path: /submissions/events/*, methods: [HEAD]",
        "path: '/{anything}'",
        "path: '/{a}/{b}'",
        "path: /submissions/0195c3a1-0000-7000-8000-0123456789ab/x",
    ],
)
def test_a_route_that_lies_on_a_process_resource_is_an_error(tmp_path: Path, match: str) -> None:
    (found,) = errors(tmp_path, beside_claims(match))
    assert found.startswith("policy.yaml:5:")
    assert "of route other lies on /submissions, where the processes of route claims are" in found


@pytest.mark.parametrize(
    "match",
    [
        "path: /submissions, methods: [POST]",
        "path: /submissions/special",
        "path: /submissions/events, methods: [POST]",
        "path: /submissions/events/more",
        "path: /submissions/special/*",
        "path: /submissions-old/*",
        "path: /*",
        "path: '/{a}/b/{c}'",
    ],
)
def test_a_route_beside_a_process_resource_or_around_it_is_fine(tmp_path: Path, match: str) -> None:
    assert "other" in load(tmp_path, beside_claims(match)).table.routes


def test_on_other_hosts_a_route_may_lie_there(tmp_path: Path) -> None:
    load(tmp_path, beside_claims("path: /submissions/*, hosts: [b]", ", hosts: [a]"))
    assert len(errors(tmp_path, beside_claims("path: /submissions/*", ", hosts: [a]"))) == 1
    assert len(errors(tmp_path, beside_claims("path: /submissions/*, hosts: ['*.x']", ", hosts: [a.x]"))) == 1


def test_a_recorded_route_may_be_where_its_own_processes_are(tmp_path: Path) -> None:
    text = UPSTREAM + "routes: [{name: a, upstream: legacy, mode: async, process: {resource: /a}, match: {path: /a"
    load(tmp_path, text + ", methods: [POST]}}]")
    assert len(errors(tmp_path, text + "}}]")) == 1


def test_the_resource_of_a_route_that_never_records_is_nobodys(tmp_path: Path) -> None:
    text = UPSTREAM + "routes: [{name: a, upstream: legacy, match: {path: /processes/*}%s}]"
    assert list(load(tmp_path, text % "").table.routes) == ["a"]
    assert len(errors(tmp_path, text % ", mode: async")) == 1
