"""What is shown of what is kept: people's own words, whatever is to be hidden of what clients and upstreams sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from strangler.operations.api.shown import Shown
from strangler.policy.model import Redaction
from strangler.ports import Evidence
from tests.engine.world import NOON, a_route


@pytest.mark.parametrize("source", ["operator", "reply"])
def test_what_a_person_found_out_is_shown_where_bodies_are_redacted(source: str) -> None:
    promise = replace(a_route().promise, redact=Redaction(pointers=frozenset({"/iban"})))
    found = Evidence("p", 1, source, NOON, None, (), b'{"evidence": "register, entry 4711"}')  # type: ignore[arg-type]
    body = Shown([promise]).evidence(found)["body"]
    if source == "operator":
        assert body["text"] == '{"evidence": "register, entry 4711"}'
    else:
        assert (body["hidden"], "text" in body) == (True, False)  # without a type it is no JSON to anybody
