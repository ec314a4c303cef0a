"""The `access` section of a route from its checked values."""

from __future__ import annotations

import os
from typing import Any

from strangler.config.files import why
from strangler.config.located import KeyPath
from strangler.config.paths import build_path
from strangler.config.scalars import seconds
from strangler.config.section import Context, Section
from strangler.config.urls import web_url
from strangler.engine.admission import AUTHORIZE_NAMES
from strangler.engine.key_set import read_keys
from strangler.policy.model import AccessPolicy, AuthorizePolicy, JwtPolicy
from strangler.ports import MAX_KEYS

_USUAL = ("header:Authorization", "header:X-Api-Key")
_USUAL_WITH_JWT = ("jwt:sub", "header:X-Api-Key")
_JWKS: KeyPath = ("access", "jwt", "jwks")
_PATH: KeyPath = ("access", "authorize", "path")


def build_access(section: Section, context: Context) -> AccessPolicy:
    """Whose a route's processes are, and who may come in; what is wrong with it, the section is told."""
    access = section.values["access"]
    _check_sources(section, access)
    usual = _USUAL_WITH_JWT if "jwt" in access else _USUAL
    return AccessPolicy(
        identity=tuple(access.get("identity", usual)),
        read=access.get("read"),
        cancel=access.get("cancel"),
        name=access.get("name"),
        jwt=_jwt(section, context, access["jwt"]) if "jwt" in access else None,
        authorize=_authorize(section, access["authorize"]) if "authorize" in access else None,
    )


def _check_sources(section: Section, access: dict[str, Any]) -> None:
    """What a token or a password names is somebody only once it was looked at."""
    sources: list[tuple[KeyPath, str]] = [
        (("access", "identity", index), source) for index, source in enumerate(access.get("identity", ()))
    ]
    if "name" in access:
        sources.append((("access", "name"), access["name"]))
    for keys, source in sources:
        if source.startswith("jwt:") and "jwt" not in access:
            section.complain(keys, "expected access.jwt, which says how the token is verified")
        if source == "basic:user" and "authorize" not in access:
            section.complain(keys, "expected access.authorize, by which the upstream checks the password")


def _jwt(section: Section, context: Context, values: dict[str, Any]) -> JwtPolicy | None:
    jwks: str = values["jwks"]
    audience = values.get("audience", ())
    document = None
    if "://" in jwks:
        if not _is_url(jwks):
            section.complain(_JWKS, "expected an http or https URL without credentials and fragment, or a file")
            return None
    else:
        # A path is relative to the file that names it, which with route_defaults is still the same one.
        jwks = os.path.abspath(os.path.join(os.path.dirname(section.node.at(_JWKS).place.file), jwks))
        document = _document(section, context, jwks)
    return JwtPolicy(
        jwks=jwks,
        issuer=values.get("issuer"),
        audience=(audience,) if isinstance(audience, str) else tuple(audience),
        document=document,
    )


def _is_url(text: str) -> bool:
    return web_url(text) is not None and text.isascii() and text.isprintable() and not (set(" @#") & set(text))


def _document(section: Section, context: Context, path: str) -> bytes | None:
    try:
        data = context.reading.read(path, MAX_KEYS)
    except OSError as error:
        section.complain(_JWKS, f"{path} cannot be read: {why(error)}", "note" if context.offline else "error")
        return None
    if len(data) > MAX_KEYS:
        section.complain(_JWKS, f"{path} is longer than {MAX_KEYS} bytes")
        return None
    try:
        read_keys(data)
    except ValueError as error:
        section.complain(_JWKS, f"{path}: {error}")
        return None
    return data


def _authorize(section: Section, values: dict[str, Any]) -> AuthorizePolicy | None:
    if build_path(section, _PATH, values["path"], AUTHORIZE_NAMES) is None:
        return None
    return AuthorizePolicy(path=values["path"], method=values["method"], cache=seconds(values["cache"]))
