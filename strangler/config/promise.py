"""A promise as text, to be kept in the store and read after a restart, when the route may be gone from the policy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from strangler.domain.process import PublicState
from strangler.policy.model import AccessPolicy, ProcessPolicy, Promise

_FORMAT = 1
_ON_IN_DOUBT = ("review", "retry", "fail")

OnInDoubt = Literal["review", "retry", "fail"]


def write(
    route: str, process: ProcessPolicy, access: AccessPolicy, on_in_doubt: OnInDoubt, wait: float
) -> tuple[str, str]:
    """The digest of a promise (SHA-256 of its text, hex), and its text: canonical JSON, without any secret."""
    content = {
        "format": _FORMAT,
        "route": route,
        "process": _given(asdict(process)),
        "access": _given(asdict(access)),
        "on_in_doubt": on_in_doubt,
        "wait": wait,
    }
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return _digest(text), text


def read(digest: str, text: str) -> Promise:
    """The promise that `write` made a text of.

    Raises:
        ValueError: the text is not the one of that digest, or a later version wrote it.
    """
    if _digest(text) != digest:
        raise ValueError(f"the text of promise {digest} has been changed")
    content = json.loads(text)
    if content["format"] != _FORMAT or content["on_in_doubt"] not in _ON_IN_DOUBT:
        raise ValueError(f"promise {digest} was written by a later version of strangler")
    process: dict[str, Any] = content["process"]
    access: dict[str, Any] = content["access"]
    try:
        return Promise(
            digest=digest,
            route=content["route"],
            process=ProcessPolicy(**{**process, "statuses": _statuses(process.get("statuses", {}))}),
            access=AccessPolicy(**{**access, "identity": tuple(access["identity"])}),
            on_in_doubt=content["on_in_doubt"],
            wait=content["wait"],
        )
    except TypeError:
        raise ValueError(f"promise {digest} was written by a later version of strangler") from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _statuses(words: Mapping[str, str]) -> dict[PublicState, str]:
    return {PublicState(state): word for state, word in words.items()}
