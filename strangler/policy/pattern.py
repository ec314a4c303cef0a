"""What a route matches, as patterns: of paths and of hosts, and whether two of them can both win."""

from __future__ import annotations

import re
from typing import NamedTuple

from strangler.policy import wildcard
from strangler.policy.model import Match
from strangler.policy.target import normal

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.-]*)\}")


class PathPattern(NamedTuple):
    """A path pattern: literal segments in normal form, None for a parameter."""

    segments: tuple[bytes | None, ...]
    names: tuple[str, ...]
    prefix: bool  # goes on with "/*": the path itself, and all below it


class PathSyntaxError(ValueError):
    """A text that is no path pattern."""


def parse_path(text: str) -> PathPattern:
    """A path pattern: exact, with ``{parameters}`` that are one non-empty segment each, or a prefix ending in ``/*``.

    Raises:
        PathSyntaxError: it is none of these.
    """
    if not text.startswith("/"):
        raise PathSyntaxError("a path begins with /")
    for mark in "?#":
        if mark in text:
            raise PathSyntaxError(f"a path holds no {mark}; query terms have a key of their own, `query`")
    prefix = text.endswith("/*")
    parts = text.removesuffix("/*").split("/")[1:]
    segments: list[bytes | None] = []
    names: list[str] = []
    for part in parts:
        if found := _PARAMETER.fullmatch(part):
            if found[1] in names:
                raise PathSyntaxError(f"the parameter {part} stands there twice")
            names.append(found[1])
            segments.append(None)
        elif "{" in part or "}" in part:
            raise PathSyntaxError(f"a parameter is a whole segment, as in /claims/{{claim_id}}/assess, not {part}")
        elif "*" in part:
            raise PathSyntaxError("* stands only at the end, as the last segment: /claims/*")
        else:
            segments.append(normal(b"/" + part.encode())[1:])
    return PathPattern(tuple(segments), tuple(names), prefix)


def matchable(text: str) -> bool:
    """Whether any path in normal form can match: not where the pattern itself has dot segments, ``//`` or spaces."""
    if any(mark <= " " or mark == "\x7f" for mark in text):
        return False
    path = text.removesuffix("/*").encode()
    return len(normal(path).split(b"/")) == len(path.split(b"/"))


def host_fits(pattern: str, name: str) -> bool:
    """Whether a host name (small letters) is one that a pattern of a policy stands for: ``*.`` is any subdomain."""
    return name.endswith(pattern[1:]) and len(name) > len(pattern) - 1 if pattern.startswith("*") else name == pattern


def hosts_overlap(some: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Whether a host can fit both lists of patterns; an empty list is all hosts."""
    if not some or not others:
        return True
    return any(
        host_fits(one, other.replace("*", "x")) or host_fits(other, one.replace("*", "x"))
        for one in some
        for other in others
    )


def equally_specific(one: Match, other: Match) -> bool:
    """Whether two matches with the same path pattern can both take a request, with nothing to choose by."""
    if (one.hosts or other.hosts) and not set(one.hosts) & set(other.hosts):
        return False
    if bool(one.methods) != bool(other.methods) or (one.methods and not one.methods & other.methods):
        return False
    if len(one.headers) + len(one.query) != len(other.headers) + len(other.query):
        return False
    pairs = ((one.headers, other.headers), (one.query, other.query))
    return all(
        wildcard.overlap(terms[name], others[name]) for terms, others in pairs for name in terms.keys() & others.keys()
    )


def covers_resource(path: PathPattern, methods: frozenset[str], resource: PathPattern) -> bool:
    """Whether a path pattern of a route lies on a collection of processes R: on GET R, GET R/events, R/{uuid} or below.

    A prefix that begins above R, such as ``/*``, merely surrounds it; there the process resource comes first.
    """
    base = resource.segments
    if len(path.segments) < len(base):
        return False
    if not all(mine in (None, theirs) for mine, theirs in zip(path.segments, base, strict=False)):
        return False
    if len(path.segments) == len(base):
        return path.prefix or not methods or not methods.isdisjoint({"GET", "HEAD"})
    beyond = path.segments[len(base)]
    if beyond == b"events" and len(path.segments) == len(base) + 1:
        return not methods or not methods.isdisjoint({"GET", "HEAD"})
    return beyond is None or _UUID.fullmatch(beyond) is not None


_UUID = re.compile(rb"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
