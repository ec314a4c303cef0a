"""What is legal in `access` but unwise."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from strangler.config.located import KeyPath, Level
from strangler.policy.model import AccessPolicy, JwtPolicy, Route

_IDENTITY: KeyPath = ("access", "identity")


def of_access(route: Route) -> Iterator[tuple[KeyPath, str, Level]]:
    """What is unwise about who may come in on a recorded route: keys, text, level."""
    access = route.access
    yield from _lost_callers(access)
    yield from _joined_by_others(route)
    if access.jwt is not None:
        yield from _of_tokens(access.jwt)
    if access.read == "caller" and not _known_for_sure(route):
        yield (
            ("access", "read"),
            "what is submitted without an identity can be read by nobody; accept.require_headers can ask for one",
            "warning",
        )


def _joined_by_others(route: Route) -> Iterator[tuple[KeyPath, str, Level]]:
    if route.accept.idempotency.scope == "route" and route.access.read != "anyone":
        text = "another caller who repeats a request with its key is told of its process, and cannot read it then; "
        yield ("accept", "idempotency", "scope"), text + "with access.read: anyone it can", "warning"


def _lost_callers(access: AccessPolicy) -> Iterator[tuple[KeyPath, str, Level]]:
    sources = [source.lower() for source in access.identity]
    if "header:authorization" not in sources:
        return
    earlier = sources[: sources.index("header:authorization")]
    if access.jwt is not None:
        if not any(source.startswith("jwt:") for source in earlier):
            text = "a refreshed token is another caller: put jwt:sub in the place of header:Authorization"
            yield _IDENTITY, text, "warning"
    elif access.authorize is not None:
        if access.read != "anyone":
            text = "who may read must still bear the very token of the submission; with `read: anyone` it is enough "
            yield _IDENTITY, text + "that the upstream allows it", "note"
    else:
        text = "if Authorization holds bearer tokens, callers lose their processes when a token is refreshed; "
        yield _IDENTITY, text + "name an identity that stays, or have tokens verified by access.jwt", "warning"


def _of_tokens(jwt: JwtPolicy) -> Iterator[tuple[KeyPath, str, Level]]:
    keys: KeyPath = ("access", "jwt")
    if not jwt.audience:
        yield keys, "without audience a token that was made for any other service is taken", "warning"
    parts = urlsplit(jwt.jwks)
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        yield (*keys, "jwks"), "whoever is on the way can exchange keys that are fetched by http", "warning"


def _known_for_sure(route: Route) -> bool:
    """Whether nothing is accepted on a route without an identity."""
    required = {name.lower() for name in route.accept.require_headers} if route.accept.enforce == "on" else set()
    sources = (source.partition(":") for source in route.access.identity)
    headers = ("authorization" if kind in ("jwt", "basic") else name.lower() for kind, _, name in sources)
    return not required.isdisjoint(headers)
