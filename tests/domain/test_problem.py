"""Problem documents."""

from __future__ import annotations

import json

import pytest

from strangler.domain.exchange import Answer
from strangler.domain.problem import TITLES, located, problem


@pytest.mark.parametrize("name", sorted(TITLES))
def test_every_problem_has_the_members_of_rfc_9457_and_says_that_it_is_ours(name: str) -> None:
    answer = problem(name, "what happened")
    assert isinstance(answer.body, bytes)
    document = json.loads(answer.body)
    assert document["type"] == f"urn:strangler:problem:{name}"
    assert (document["code"], document["status"], document["detail"]) == (name, answer.status, "what happened")
    assert (b"Strangler-Source", b"proxy") in answer.headers
    assert (b"Content-Type", b"application/problem+json") in answer.headers


def test_an_unknown_effect_is_a_header_too() -> None:
    assert (b"Strangler-Effect", b"unknown") in problem("wait-over", "", effect="unknown").headers
    assert all(name != b"Strangler-Effect" for name, _ in problem("cancelled", "", effect="none").headers)


def test_the_instance_is_the_path_of_the_request_without_its_query() -> None:
    answer = located(problem("no-route", "nobody"), b"/a%2Fb/\xff?token=secret")
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body)["instance"] == "/a%2Fb/%FF"


def test_what_is_no_problem_stays_as_it_is() -> None:
    answer = Answer(200, [], b"{}")
    assert located(answer, b"/x") is answer
