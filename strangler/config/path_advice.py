"""Paths with ``{EXPR}`` in them that ask for what is never there."""

from __future__ import annotations

from collections.abc import Iterator

from strangler.config.located import KeyPath
from strangler.policy.expressions import Template
from strangler.policy.model import Route
from strangler.policy.pattern import parse_path


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
