"""A wall from the JSON in which it is kept with a promise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from strangler.domain.process import Effect
from strangler.policy.wall import (
    Condition,
    Content,
    Formula,
    OutcomeRule,
    RequestTranslation,
    ResponseTranslation,
    Source,
    Wall,
)

Values = Mapping[str, Any]


def read_wall(values: Values) -> Wall:
    """The wall that was kept.

    Raises:
        TypeError, KeyError: a later version wrote it.
    """
    return Wall(
        **{
            **values,
            "paths": tuple(values["paths"]),
            "request": _request(values["request"]) if "request" in values else None,
            "reply_source": _source(values["reply_source"]),
            "responses": tuple(_response(each) for each in values["responses"]),
            "outcome": tuple(_rule(each) for each in values["outcome"]),
        }
    )


def _request(values: Values) -> RequestTranslation:
    return RequestTranslation(
        **{
            **values,
            "source": _source(values["source"]),
            "content": _content(values["content"]),
            "set_headers": _pairs(values["set_headers"]),
            "remove_headers": tuple(values["remove_headers"]),
        }
    )


def _response(values: Values) -> ResponseTranslation:
    return ResponseTranslation(
        **{
            **values,
            "when": _condition(values["when"]),
            "content": _content(values["content"]),
            "set_headers": _pairs(values["set_headers"]),
            "remove_headers": tuple(values["remove_headers"]),
        }
    )


def _rule(values: Values) -> OutcomeRule:
    return OutcomeRule(
        **{
            **values,
            "when": _condition(values["when"]),
            "reason": _formula(values, "reason"),
            "effect": Effect(values["effect"]) if "effect" in values else None,
        }
    )


def _condition(values: Values) -> Condition:
    return Condition(
        **{
            **values,
            "statuses": tuple((low, high) for low, high in values["statuses"]),
            "body": _formula(values, "body"),
        }
    )


def _content(values: Values) -> Content:
    return Content(**{**values, "body": _formula(values, "body"), "soap_header": _formula(values, "soap_header")})


def _source(values: Values) -> Source:
    return Source(**{**values, "lists": tuple(values["lists"])})


def _formula(values: Values, name: str) -> Formula | None:
    return Formula(**values[name]) if name in values else None


def _pairs(values: Any) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in values)
