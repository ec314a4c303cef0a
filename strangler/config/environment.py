"""Variables of the environment that look like a setting of ours and are none: each may be one that is mistyped."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from strangler.config.located import Finding, Place, similar
from strangler.config.settings import VARIABLES

ENVIRONMENT = Place("environment")
"""Stands where a finding has its file."""

_PREFIX = "STRANGLER_"
_OTHERS = ("STRICT", "OFFLINE", "OPS_TOKEN", "FAILPOINT", "COMPILE")  # read elsewhere than by `serve`
_REFERENCE = re.compile(r"\$\{(?:secret-)?env:([A-Za-z0-9_]+)")
# What Kubernetes tells every container of a Service whose name begins with "strangler".
_OF_A_SERVICE = re.compile(r".*_SERVICE_(HOST|PORT(_.*)?)|.*_PORT_[0-9]+_[A-Z]+(_(PROTO|PORT|ADDR))?")
_LINK = re.compile(r"[a-z]+://[^/]*:[0-9]+")


def mistyped(environ: Mapping[str, str], referenced: Collection[str]) -> Iterator[Finding]:
    """What is perhaps meant for us and has no effect, with the setting that it is like.

    Operators name variables of their own as they like. So nothing is said of what is like no setting, or of what the
    policy (``referenced``) or a setting takes.
    """
    known = {name.removeprefix(_PREFIX) for name in VARIABLES} | {*_OTHERS}
    meant = {name for value in environ.values() for name in _REFERENCE.findall(value)}
    for name in sorted(environ.keys() - meant - {*referenced}):
        rest = name.upper().removeprefix(_PREFIX)
        if not name.upper().startswith(_PREFIX) or (name.isupper() and rest in known) or _is_link(rest, environ[name]):
            continue
        if (setting := similar(rest, known)) is not None:
            text = f"{name} is no setting, and has no effect; did you mean {_PREFIX}{setting}?"
            yield Finding(ENVIRONMENT, "", text, "warning")


def _is_link(rest: str, value: str) -> bool:
    """Whether it is one of those that Kubernetes sets for a Service."""
    bare = f"_{rest}"
    return _OF_A_SERVICE.fullmatch(bare) is not None or (bare.endswith("_PORT") and _LINK.fullmatch(value) is not None)
