"""What can only be seen over all routes: which of them can both win, and which lie on a process resource."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from strangler.config.section import Section
from strangler.policy.model import Route
from strangler.policy.pattern import covers_resource, equally_specific, hosts_overlap, parse_path

Sections = Mapping[str, Section]
"""By the name of the route."""


def check_routes(routes: Iterable[Route], sections: Sections) -> None:
    """Tell each route's section what is wrong between it and the others."""
    routes = list(routes)
    _check_rivals(routes, sections)
    _check_resources(routes, sections)


def _check_rivals(routes: Iterable[Route], sections: Sections) -> None:
    # Only equal path patterns leave a choice open, so only these are compared with each other.
    same: dict[Any, list[tuple[Route, str]]] = {}
    for route in routes:
        for path in route.match.paths:
            parsed = parse_path(path)
            same.setdefault((parsed.segments, parsed.prefix), []).append((route, path))
    told: set[tuple[str, str]] = set()
    for group in same.values():
        for (one, _), (other, path) in combinations(group, 2):
            if (one.name, other.name) in told or not equally_specific(one.match, other.match):
                continue
            told.add((one.name, other.name))
            sections[other.name].complain(
                ("match", "path"),
                f"routes {one.name} ({sections[one.name].node.place}) and {other.name} can both win a request for "
                f"{path}; let them differ in hosts, path, methods, or the number of headers and query terms",
            )


def _check_resources(routes: Iterable[Route], sections: Sections) -> None:
    owners: dict[tuple[str, tuple[str, ...]], Route] = {}
    for route in routes:
        if route.records:
            owners.setdefault((route.process.resource, route.match.hosts), route)
    paths = [(route, path, parse_path(path)) for route in routes for path in route.match.paths]
    for (resource, hosts), owner in owners.items():
        base = parse_path(resource)
        for route, path, parsed in paths:
            if covers_resource(parsed, route.match.methods, base) and hosts_overlap(hosts, route.match.hosts):
                sections[route.name].complain(
                    ("match", "path"),
                    f"the path {path} of route {route.name} lies on {resource}, where the processes of route "
                    f"{owner.name} are (GET {resource}, {resource}/{{id}} and below)",
                )
