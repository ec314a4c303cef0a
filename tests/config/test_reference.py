from __future__ import annotations

from pathlib import Path

from strangler.config.reference import reference
from strangler.config.schema import policy_schema

PAGE = Path(__file__).parents[2] / "docs/policy.md"


def test_the_page_is_the_one_that_the_schema_makes() -> None:
    assert PAGE.read_text("utf-8") == reference(), "python -m strangler.config.reference > docs/policy.md"


def test_every_key_of_a_route_is_on_it() -> None:
    for key in policy_schema()["$defs"]["route"]["properties"]:
        assert f"`{key}`" in reference()
