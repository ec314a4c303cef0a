"""What a token must say to be taken (RFC 7519 section 4.1), once its signature is known to be good."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from strangler.policy.model import JwtPolicy

LEEWAY = 30
"""Seconds by which the clocks of an issuer and ours may differ."""


def objection(values: Mapping[str, Any], policy: JwtPolicy, now: int) -> str | None:
    """Why a token is not taken, in words for its bearer; None: it is.

    An issuer and an end are asked for always: without the first nobody knows whose ``sub`` it is, and a token without
    the second would be good for ever. ``now`` is in milliseconds.
    """
    return _time_objection(values, now / 1000) or _name_objection(values, policy)


def _time_objection(values: Mapping[str, Any], now: float) -> str | None:
    for name in ("exp", "nbf", "iat"):
        if name in values and not _is_instant(values[name]):
            return f"the claim {name} is no instant"
    if "exp" not in values:
        return "the token has no exp"
    if now >= values["exp"] + LEEWAY:
        return "the token has expired"
    if now < max(values.get("nbf", now), values.get("iat", now)) - LEEWAY:
        return "the token is not valid yet"
    return None


def _name_objection(values: Mapping[str, Any], policy: JwtPolicy) -> str | None:
    issuer = values.get("iss")
    if not isinstance(issuer, str) or not issuer:
        return "the token has no iss"
    if policy.issuer is not None and issuer != policy.issuer:
        return "the token is of another issuer"
    if policy.audience:
        named = values.get("aud")
        audience = [named] if isinstance(named, str) else named if isinstance(named, list) else []
        if not any(isinstance(one, str) and one in policy.audience for one in audience):
            return "the token is for another audience"
    return None


def _is_instant(value: object) -> bool:
    """Whether a value is a NumericDate (section 2)."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)
