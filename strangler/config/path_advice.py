"""Paths with ``{EXPR}`` in them that ask for what is never there, and prefixes that are stripped from none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from strangler.config.located import KeyPath, Place
from strangler.config.section import Section
from strangler.config.unknown import unknown
from strangler.policy.expressions import Template
from strangler.policy.model import Route, Table
from strangler.policy.pattern import parse_path
from strangler.policy.target import plain

_STRIPPED = ("rewrite", "strip_prefix")


def of_paths(route: Route) -> Iterator[tuple[KeyPath, str]]:
    """Where one asks for a parameter that no path of its route has: what is null cannot stand in a path."""
    known = {name for path in route.match.paths for name in parse_path(path).names}
    for keys, template in _templates(route):
        for name in sorted(template.parameters - known):
            has = f"has {', '.join(sorted(known))}" if known else "has no parameters"
            yield keys, f"path.{name} is never there: match.path {has}"


def _templates(route: Route) -> Iterator[tuple[KeyPath, Template]]:
    call, wall = route.call, route.promise.wall.wall if route.promise.wall is not None else None
    if wall is not None and wall.request is not None and wall.request.path is not None:
        yield ("translate", "request", "path"), Template(wall.request.path)
    if call.probe is not None:
        yield ("call", "probe", "path"), call.probe.template
    if route.access.authorize is not None:
        yield ("access", "authorize", "path"), Template(route.access.authorize.path)


def stripped_in_vain(table: Table, routes: Mapping[str, Section]) -> Iterator[str]:
    """The routes of which no path begins with what is stripped; among those that share it, one that does is enough."""
    sharing: dict[Place, list[Route]] = {}
    for name, route in table.routes.items():
        node = routes[name].node
        if route.rewrite.strip_prefix and not any(unknown(node.at(keys)) for keys in (_STRIPPED, ("match", "path"))):
            sharing.setdefault(node.at(_STRIPPED).place, []).append(route)
    for some in sharing.values():
        if not any(_may_begin(path, route.rewrite.strip_prefix) for route in some for path in route.match.paths):
            yield from (route.name for route in some)


def _may_begin(path: str, prefix: str) -> bool:
    """Whether a path that matches may begin with a prefix, segment by segment."""
    if not plain(prefix.encode()):
        return True  # of paths as they come, which may be spelled like this
    pattern, segments = parse_path(path), prefix.encode().split(b"/")[1:]
    if len(segments) > len(pattern.segments) and not pattern.prefix:
        return False
    return all(mine in (None, theirs) for mine, theirs in zip(pattern.segments, segments, strict=False))
