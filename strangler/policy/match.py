"""Which route a request is for. Compiled once per table; asked once per request, on the way of every passthrough.

The more specific route wins: host, then path segment by segment (literal over parameter over prefix), then method, then
the number of header and query terms. So hosts are tried from the narrowest to the widest, each with its own tree of
path segments that is walked literals first; the first route found that takes the method and the terms is the one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from strangler.domain.exchange import Request
from strangler.policy import wildcard
from strangler.policy.model import Route, Table
from strangler.policy.pattern import host_fits, parse_path
from strangler.policy.target import as_text, first_values, normal, plain, spelled

Field = Callable[[bytes], bytes | None]
"""The value of a header by its lower-case name, its lines joined; `Request.field` is one."""


class Matched(NamedTuple):
    """What a request falls on."""

    route: Route | None  # None: no route matches; the table's default serves it, where there is one
    parameters: Mapping[str, str]  # of the path, decoded
    ambiguous: bool = False  # raw and normal form fall on different routes, one of them recorded: 400


class ResourcePath(NamedTuple):
    """A path of a process resource."""

    resource: str  # R
    process_id: str | None  # lower case; None: R itself
    rest: bytes  # what follows the id, or R: b"", b"/status", …


class _Entry(NamedTuple):
    route: Route
    methods: frozenset[str]
    names: tuple[str, ...]  # of the path's parameters, in order
    headers: tuple[tuple[bytes, str], ...]
    query: tuple[tuple[str, str], ...]
    constant: Matched  # the answer where the path has no parameters

    def takes(self, method: str, query: bytes | None, field: Field) -> bool:
        if self.methods and method not in self.methods:
            return False
        for name, pattern in self.headers:
            value = field(name)
            if value is None or not wildcard.fits(pattern, value.decode("utf-8", "backslashreplace")):
                return False
        if self.query:
            given = first_values(query)
            return all(name in given and wildcard.fits(pattern, given[name]) for name, pattern in self.query)
        return True


class _Node:
    """A place in the tree of path segments."""

    __slots__ = ("ends", "literals", "parameter", "prefixes")

    def __init__(self) -> None:
        self.literals: dict[bytes, _Node] = {}
        self.parameter: _Node | None = None
        self.ends: list[_Entry] = []  # of patterns that end here
        self.prefixes: list[_Entry] = []  # of patterns that go on with "/*"


class _Paths:
    """All path patterns of one host."""

    __slots__ = ("exact", "root", "varied")

    def __init__(self) -> None:
        self.exact: dict[bytes, list[_Entry]] = {}
        self.root = _Node()
        self.varied = False  # the tree has parameters or prefixes

    def add(self, path: str, entry: _Entry) -> None:
        parsed = parse_path(path)
        if not parsed.prefix and None not in parsed.segments:
            self.exact.setdefault(b"/" + b"/".join(s for s in parsed.segments if s is not None), []).append(entry)
            return
        self.varied = True
        node = self.root
        for segment in parsed.segments:
            if segment is None:
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, _Node())
        (node.prefixes if parsed.prefix else node.ends).append(entry)

    def find(self, method: str, path: bytes, query: bytes | None, field: Field) -> Matched | None:
        # A wholly literal pattern is the most specific that a path can have.
        for entry in self.exact.get(path, ()):
            if entry.takes(method, query, field):
                return entry.constant
        if not self.varied or path[:1] != b"/":
            return None
        return _walk(self.root, path[1:].split(b"/"), 0, [], (method, query, field))

    def sort(self) -> None:
        """The more specific first, by method, then by the number of terms."""
        for entries in self.exact.values():
            entries.sort(key=_rank)
        nodes = [self.root]
        while nodes:
            node = nodes.pop()
            node.ends.sort(key=_rank)
            node.prefixes.sort(key=_rank)
            nodes.extend(node.literals.values())
            if node.parameter is not None:
                nodes.append(node.parameter)


def _rank(entry: _Entry) -> tuple[bool, int]:
    return not entry.methods, -len(entry.headers) - len(entry.query)


def _walk(
    node: _Node, segments: Sequence[bytes], index: int, values: list[bytes], asked: tuple[str, bytes | None, Field]
) -> Matched | None:
    """The most specific entry from ``node`` on. Each node is visited at most once, whatever the path."""
    if index == len(segments):
        found = _first(node.ends, values, asked)
    else:
        segment = segments[index]
        found = None
        if (literal := node.literals.get(segment)) is not None:
            found = _walk(literal, segments, index + 1, values, asked)
        if found is None and node.parameter is not None and segment:
            found = _walk(node.parameter, segments, index + 1, [*values, segment], asked)
    return found if found is not None or not node.prefixes else _first(node.prefixes, values, asked)


def _first(
    entries: Iterable[_Entry], values: Sequence[bytes], asked: tuple[str, bytes | None, Field]
) -> Matched | None:
    for entry in entries:
        if entry.takes(*asked):
            if not entry.names:
                return entry.constant
            return Matched(entry.route, dict(zip(entry.names, map(as_text, values), strict=True)))
    return None


_NOTHING = Matched(None, {})


class Matcher:
    """A compiled table. Immutable."""

    def __init__(self, table: Table, kept_resources: Iterable[str] = ()) -> None:
        self._anywhere = _Paths()
        self._hosts: dict[bytes, _Paths] = {}
        endings: dict[bytes, _Paths] = {}
        for route in table.routes.values():
            for host in route.match.hosts or ("",):
                paths = self._paths_of(host.encode(), endings)
                for path in route.match.paths:
                    paths.add(path, _entry(route, path))
        self._endings = sorted(endings.items(), key=lambda item: -len(item[0]))
        for paths in (self._anywhere, *self._hosts.values(), *endings.values()):
            paths.sort()
        self._asks_host = bool(self._hosts or endings)
        self.resources: Mapping[str, tuple[str, ...]] = _resources(table, kept_resources)
        """The path R of each collection of processes, with its hosts; empty: all hosts."""
        self._resource_paths = {normal(path.encode()): (path, hosts) for path, hosts in self.resources.items()}
        self._collection_paths = {
            path + rest: (ResourcePath(resource, None, rest), hosts)
            for rest in (b"/events", b"")  # a collection of that name comes before the stream of another
            for path, (resource, hosts) in self._resource_paths.items()
        }

    def _paths_of(self, host: bytes, endings: dict[bytes, _Paths]) -> _Paths:
        if not host:
            return self._anywhere
        if host.startswith(b"*"):
            return endings.setdefault(host[1:], _Paths())
        return self._hosts.setdefault(host, _Paths())

    def match(self, method: str, host: bytes | None, path: bytes, query: bytes | None, field: Field) -> Matched:
        """The route of a request.

        ``host`` is the Host header's value, None where the field is to be asked for it; ``path`` as it came, without
        the query; ``query`` without its ``?``. Never raises, whatever the bytes.
        """
        if self._asks_host and host is None:
            host = field(b"host")
        find = self._find if plain(path) else self._find_spelled
        return find(method, host, path, query, field)

    def match_request(self, request: Request) -> Matched:
        """The route of a parsed request."""
        return self.match(request.method, None, request.path, request.query, request.field)

    def resource_at(self, method: str, host: bytes | None, path: bytes) -> ResourcePath | None:
        """The process resource that a request is for, before every route: R/{uuid}, what is under it, GET R and
        GET R/events.

        None: it is none. ``host`` matters only where the routes that name R have hosts.
        """
        found = self._resource(method, path if plain(path) else normal(path))
        return found[0] if found is not None and _served(found[1], host) else None

    def target_of(self, request: Request) -> ResourcePath | Matched:
        """What a parsed request is for: a process resource, which comes before every route, or a route. Its Host is
        looked up only where that matters."""
        path, usual = request.path, plain(request.path)
        resource = self._resource(request.method, path if usual else normal(path))
        if resource is not None and (not resource[1] or _served(resource[1], request.field(b"host"))):
            return resource[0]
        find = self._find if usual else self._find_spelled
        host = request.field(b"host") if self._asks_host else None
        return find(request.method, host, path, request.query, request.field)

    def _resource(self, method: str, path: bytes) -> tuple[ResourcePath, Sequence[str]] | None:
        """The resource at a path in normal form, and its hosts."""
        collection = self._collection_paths.get(path)
        if collection is not None:
            return collection if method in ("GET", "HEAD") else None
        if len(path) < _SHORTEST:
            return None
        for found in _PROCESS.finditer(path):
            known = self._resource_paths.get(path[: found.start()])
            if known is not None:
                return ResourcePath(known[0], found[1].decode().lower(), path[found.end() :]), known[1]
        return None

    def _find_spelled(self, method: str, host: bytes | None, path: bytes, query: bytes | None, field: Field) -> Matched:
        """The route of a path that is not in normal form."""
        raw = self._find(method, host, spelled(path), query, field)
        found = self._find(method, host, normal(path), query, field)
        if raw.route is not found.route and any(one.route is not None and one.route.records for one in (raw, found)):
            return found._replace(ambiguous=True)
        return found

    def _find(self, method: str, host: bytes | None, path: bytes, query: bytes | None, field: Field) -> Matched:
        if self._asks_host and host:
            name = host_name(host)
            if (paths := self._hosts.get(name)) is not None:
                found = paths.find(method, path, query, field)
                if found is not None:
                    return found
            for ending, paths in self._endings:
                if name.endswith(ending) and len(name) > len(ending):
                    found = paths.find(method, path, query, field)
                    if found is not None:
                        return found
        return self._anywhere.find(method, path, query, field) or _NOTHING


def compile_table(table: Table, kept_resources: Iterable[str] = ()) -> Matcher:
    """A matcher for a table.

    ``kept_resources``: collections that no recorded route names any more while the store still holds their processes;
    they are served on all hosts.
    """
    return Matcher(table, kept_resources)


def host_name(authority: bytes) -> bytes:
    """The name or address of a Host header's value: without port, in small letters, without a root's dot."""
    if authority.startswith(b"["):
        return authority.partition(b"]")[0].lower() + b"]"
    return authority.partition(b":")[0].lower().rstrip(b".")


def _entry(route: Route, path: str) -> _Entry:
    return _Entry(
        route,
        route.match.methods,
        parse_path(path).names,
        tuple((name.lower().encode(), pattern) for name, pattern in route.match.headers.items()),
        tuple(route.match.query.items()),
        Matched(route, {}),
    )


def _resources(table: Table, kept: Iterable[str]) -> dict[str, tuple[str, ...]]:
    hosts: dict[str, set[str] | None] = {}
    for route in table.routes.values():
        if route.records:
            of_resource = hosts.setdefault(route.process.resource, set())
            if not route.match.hosts or of_resource is None:
                hosts[route.process.resource] = None  # on all of them
            else:
                of_resource.update(route.match.hosts)
    for resource in kept:
        hosts.setdefault(resource, None)
    return {resource: tuple(sorted(names or ())) for resource, names in hosts.items()}


_SHORTEST = 37  # bytes of a slash and an id
_PROCESS = re.compile(rb"/([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})(?=/|\Z)")


def _served(hosts: Sequence[str], host: bytes | None) -> bool:
    """Whether a resource is there on this host; no hosts are all of them."""
    if not hosts:
        return True
    name = host_name(host or b"").decode("latin-1")
    return any(host_fits(pattern, name) for pattern in hosts)
