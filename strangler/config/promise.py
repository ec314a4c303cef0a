"""A promise as text, to be kept in the store and read after a restart, when the route may be gone from the policy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from strangler.config.hooks import kept_hook
from strangler.config.kept_wall import read_wall
from strangler.domain.process import PublicState
from strangler.policy.expressions import ExpressionSyntaxError
from strangler.policy.model import (
    AccessPolicy,
    AuthorizePolicy,
    JwtPolicy,
    ProcessPolicy,
    Promise,
    Redaction,
)
from strangler.policy.references import References, Sought
from strangler.policy.translate import Interpreter

_FORMAT = 1
_FORMAT_WITH_WALL = 2  # versions that know no wall would read past it, and guess
_FORMAT_WITH_REDACTION = 3  # likewise, and show what is to be hidden
_FORMATS = (_FORMAT, _FORMAT_WITH_WALL, _FORMAT_WITH_REDACTION)
_ON_IN_DOUBT = ("review", "retry", "probe", "fail", None)


def write(promise: Promise) -> tuple[str, str]:
    """The digest of a promise (SHA-256 of its text, hex), and its text: canonical JSON, without any secret.

    The digest that it bears already says nothing.
    """
    wall, redact, references = promise.wall, promise.redact, promise.references
    content: dict[str, Any] = {
        "format": _FORMAT if wall is None else _FORMAT_WITH_WALL,
        "route": promise.route,
        "process": _given(asdict(promise.process)),
        "access": _access_content(promise.access),
        "on_in_doubt": promise.on_in_doubt,
        "wait": promise.wait,
    }
    if wall is not None:
        content["wall"] = _without_none(asdict(wall.wall))
    if redact:
        content["format"] = _FORMAT_WITH_REDACTION
        content["redact"] = {"headers": sorted(redact.headers), "pointers": sorted(redact.pointers)}
    if references is not None:
        sought = references.sought
        content["references"] = {"expressions": dict(sought.expressions), "paths": list(sought.paths)}
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
    if content["format"] not in _FORMATS or content["on_in_doubt"] not in _ON_IN_DOUBT:
        raise ValueError(f"promise {digest} was written by a later version of strangler")
    process: dict[str, Any] = content["process"]
    access: dict[str, Any] = content["access"]
    try:
        return Promise(
            digest=digest,
            route=content["route"],
            process=_process(process),
            access=_access(access),
            on_in_doubt=content["on_in_doubt"],
            wait=content["wait"],
            redact=Redaction(**{name: frozenset(each) for name, each in content.get("redact", {}).items()}),
            references=References(Sought(**content["references"])) if "references" in content else None,
            wall=Interpreter(read_wall(content["wall"]), kept_hook) if "wall" in content else None,
        )
    except (TypeError, KeyError, ExpressionSyntaxError):
        raise ValueError(f"promise {digest} was written by a later version of strangler") from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _access_content(access: AccessPolicy) -> dict[str, Any]:
    content = _without_none(asdict(access))
    if access.jwt is not None:
        # Keys are never those of long ago: where a token is verified it is by those of today.
        content["jwt"].pop("document", None)
    return content  # type: ignore[no-any-return]


def _access(content: Mapping[str, Any]) -> AccessPolicy:
    verified, asked = content.get("jwt"), content.get("authorize")
    return AccessPolicy(
        **{
            **content,
            "identity": tuple(content["identity"]),
            "jwt": JwtPolicy(**{**verified, "audience": tuple(verified["audience"])}) if verified is not None else None,
            "authorize": AuthorizePolicy(**asked) if asked is not None else None,
        }
    )


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(part) for name, part in value.items() if part is not None}
    if isinstance(value, list | tuple):
        return [_without_none(part) for part in value]
    return value


def _process(values: Mapping[str, Any]) -> ProcessPolicy:
    public = values.get("public_references")
    return ProcessPolicy(
        **{
            **values,
            "statuses": _statuses(values.get("statuses", {})),
            "public_references": tuple(public) if public is not None else None,
        }
    )


def _statuses(words: Mapping[str, str]) -> dict[PublicState, str]:
    return {PublicState(state): word for state, word in words.items()}
