"""What a token has to say."""

from __future__ import annotations

from typing import Any

import pytest

from strangler.policy.claims import LEEWAY, objection
from strangler.policy.model import JwtPolicy

NOW = 1_800_000_000
POLICY = JwtPolicy(jwks="https://id.example/keys", issuer="https://id.example/", audience=("claims", "claims-old"))
GOOD: dict[str, Any] = {"iss": "https://id.example/", "aud": "claims", "sub": "alice", "exp": NOW + 60}


def said(**claims: Any) -> dict[str, Any]:
    """The good token with these claims; None takes one out."""
    return {name: value for name, value in {**GOOD, **claims}.items() if value is not None}


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"aud": ["others", "claims-old"]},
        {"exp": NOW - LEEWAY + 1},
        {"exp": NOW + 0.5},
        {"nbf": NOW + LEEWAY, "iat": NOW + LEEWAY},
        {"sub": None},
        {"exp": 10**400},  # too large for a float
    ],
)
def test_a_token_of_the_issuer_for_the_audience_in_its_time_is_taken(claims: dict[str, Any]) -> None:
    assert objection(said(**claims), POLICY, NOW * 1000) is None


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": None}, "the token has no exp"),
        ({"exp": NOW - LEEWAY}, "the token has expired"),
        ({"exp": str(NOW + 60)}, "the claim exp is no instant"),
        ({"exp": True}, "the claim exp is no instant"),
        ({"exp": float("inf")}, "the claim exp is no instant"),
        ({"nbf": NOW + LEEWAY + 1}, "the token is not valid yet"),
        ({"iat": NOW + LEEWAY + 1}, "the token is not valid yet"),
        ({"nbf": 10**400}, "the token is not valid yet"),
        ({"nbf": "soon"}, "the claim nbf is no instant"),
        ({"iss": None}, "the token has no iss"),
        ({"iss": ""}, "the token has no iss"),
        ({"iss": ["https://id.example/"]}, "the token has no iss"),
        ({"iss": "https://id.example"}, "the token is of another issuer"),
        ({"aud": None}, "the token is for another audience"),
        ({"aud": "others"}, "the token is for another audience"),
        ({"aud": ["claim", "s"]}, "the token is for another audience"),
        ({"aud": {"claims": 1}}, "the token is for another audience"),
    ],
)
def test_any_other_is_not(claims: dict[str, Any], reason: str) -> None:
    assert objection(said(**claims), POLICY, NOW * 1000) == reason


def test_whose_tokens_and_for_whom_is_asked_only_where_the_policy_says() -> None:
    open_policy = JwtPolicy(jwks="https://id.example/keys")
    assert objection(said(iss="anybody", aud=None), open_policy, NOW * 1000) is None
    assert objection(said(iss=None), open_policy, NOW * 1000) == "the token has no iss"
