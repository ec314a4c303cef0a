"""`call.follow`: what arrives of it, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from strangler.config.load import Loaded
from strangler.policy.model import FollowPolicy
from tests.config.scene import errors, load, one_route


def follow(loaded: Loaded) -> FollowPolicy:
    found = loaded.table.routes["claims"].call.follow
    assert found is not None
    return found


def test_without_it_nothing_is_followed(tmp_path: Path) -> None:
    assert load(tmp_path, one_route()).table.routes["claims"].call.follow is None


def test_an_empty_one_follows_the_location(tmp_path: Path) -> None:
    assert follow(load(tmp_path, one_route("call: {follow: {}}"))) == FollowPolicy()


def test_every_key_of_it_arrives(tmp_path: Path) -> None:
    keys = """
        call:
          follow:
            url: "/jobs/{reply.body.job}"
            every: 5s
            for: 1h
            done: {status: 2xx, body: "state != 'PENDING'"}
            headers: {set: {X-Asked-By: strangler}}
    """
    found = follow(load(tmp_path, one_route(keys)))
    assert (found.header, found.every, found.duration) == (None, 5.0, 3600.0)
    assert found.set_headers == (("X-Asked-By", "strangler"),)
    assert found.template is not None
    assert found.template.path({"reply": {"body": {"job": 17}}}) == "/jobs/17"
    assert found.done is not None
    assert found.done.looks_at_body


def test_the_name_of_a_header_is_taken_without_case(tmp_path: Path) -> None:
    found = follow(load(tmp_path, one_route("call: {follow: {url: 'header:Operation-Location'}}")))
    assert (found.header, found.template) == ("operation-location", None)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("call: {follow: {url: jobs}}", "call.follow.url: expected header:NAME, or a path with {EXPR} in it"),
        ("call: {follow: {url: 'https://x.example/'}}", "call.follow.url: expected header:NAME, or a path"),
        ("call: {follow: {url: '/a b/{reply.body.job}'}}", "percent-encoded"),
        ("call: {follow: {url: '/jobs/{body.job}'}}", "begins with body; it can begin with process, reply"),
        ("call: {follow: {url: '/jobs/{reply'}}", "the brace at character 7 is not closed"),
        ("call: {follow: {every: 0s}}", "call.follow.every: expected a duration"),
        ("call: {follow: {headers: {set: {Host: x}}}}", "this header is not the policy's to set"),
        ("call: {follow: {done: {body: 'x.'}}}", "call.follow.done.body: expected an expression"),
        ("call: {follow: {until: 3d}}", "call.follow.until: unknown key"),
        ("outcome: [{state: pending}]", "outcome[0].state: expected call.follow, which says where the upstream is"),
    ],
)
def test_what_is_wrong_with_it_is_said(tmp_path: Path, keys: str, said: str) -> None:
    assert any(said in line for line in errors(tmp_path, one_route(keys))), errors(tmp_path, one_route(keys))
