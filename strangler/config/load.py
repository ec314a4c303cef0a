"""Files to a policy table: all files together make one table, and all errors of a load come together."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from strangler.config.advice import advise
from strangler.config.callback_advice import advise_on_callbacks
from strangler.config.crosscheck import check_routes
from strangler.config.document import MAX_BYTES, read_document
from strangler.config.environment import mistyped
from strangler.config.files import Reading, Stamps, policy_files, why
from strangler.config.located import Finding, KeyPath, Node, Place, PolicyErrors, Report, below_any, nearest, told_once
from strangler.config.receivers import build_receiver
from strangler.config.routes import build_route
from strangler.config.schema import (
    policy_schema,
    secrets_in_stored,
    settle_types,
    validate,
    with_defaults,
    with_secrets_marked,
)
from strangler.config.section import Context, Section
from strangler.config.unknown import build_known, made_up, unknown
from strangler.config.upstreams import build_rewrite, build_upstream
from strangler.config.variables import Variables
from strangler.policy.model import Default, Route, Table
from strangler.policy.receivers import Receiver
from strangler.policy.upstreams import Upstream

LEASE = 15.0
"""Seconds of a worker's lease, unless the settings say otherwise."""


_ALONE: tuple[tuple[str, ...], ...] = (
    ("upstream",),
    ("match",),
    ("accept", "schema"),
    ("accept", "idempotency", "derive"),
    ("access",),
    ("call", "headers"),
    ("call", "forward_idempotency_key"),
    ("call", "probe", "path"),
    ("call", "probe", "applied", "body"),
    ("call", "probe", "absent", "body"),
    ("call", "follow", "url"),
    ("call", "follow", "done", "body"),
    ("translate", "request", "body"),
    ("translate", "request", "path"),
    ("translate", "response", "body"),
    ("translate", "response", "when"),
    ("outcome", "when"),
    ("outcome", "reason"),
    ("callbacks", "body"),
)
"""Keys of a route whose values are right or wrong whatever the other keys say."""

_ALONE_OF_UPSTREAM: tuple[tuple[str, ...], ...] = (("url",), ("upgrade",))
_ALONE_OF_RECEIVER: tuple[tuple[str, ...], ...] = (("tls",),)


_ANY = Upstream(name="", scheme="http", timeout=0.0)
"""Stands for one that is not known: what is wrong with a route towards it is wrong towards any other."""


class Sources(NamedTuple):
    """All that a policy was made from, but for secrets."""

    files: tuple[str, ...]  # the policy files, absolute paths
    contents: Mapping[str, bytes]  # of these, and of what they name, by absolute path


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy that loads."""

    table: Table
    findings: tuple[Finding, ...]  # warnings and notes, in the order of files and lines
    promises: Mapping[str, str]  # digest to text, of every route
    stamps: Stamps  # of every file that was read
    sources: Sources  # what was read and is no secret
    holds_secrets: bool = False  # … but for secrets that stand in the policy files themselves

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is legal but unwise."""
        return tuple(finding for finding in self.findings if finding.level == "warning")


def load_policy(
    paths: Sequence[Path],
    environ: Mapping[str, str],
    *,
    offline: bool = False,
    lease: float = LEASE,
    kept: Sources | None = None,
    public_url: bool = False,
    referenced: Collection[str] = (),
) -> Loaded:
    """The table that policy files, and folders of them, make together.

    Offline, variables, schemas and certificates that cannot be resolved are notes; the table is then good for
    checking only. ``kept`` stands in for what lies under ``paths`` now; secrets are read anew all the same.
    ``public_url``: whether there is one for all routes beside what the environment says. ``referenced``: those of its
    variables that are known to be no settings.

    Raises:
        PolicyErrors: it does not load; the text is the full report.
    """
    reading = Reading(kept.contents if kept is not None else None)
    public_url = public_url or bool(environ.get("STRANGLER_PUBLIC_URL"))
    load = _Load(Context(reading, offline, lease, public_url), Variables(environ, reading, offline=offline))
    load.read(paths, kept.files if kept is not None else policy_files(paths))
    table = load.table()
    errors = load.report.errors()
    if errors:
        raise PolicyErrors(errors, reading.stamps)
    advise(table, load.route_sections, load.upstream_sections, public_url)
    advise_on_callbacks(table, load.route_sections, load.receiver_sections)
    load.report.findings.extend(mistyped(environ, {*load.variables.named, *referenced}))
    sources = Sources(load.files, reading.sources)
    return Loaded(table, told_once(load.report.findings), load.promises, reading.stamps, sources, load.holds_secrets)


class _Load:
    """One load: what was gathered so far, over all files."""

    def __init__(self, context: Context, variables: Variables) -> None:
        self.context = context
        self.variables = variables
        self.report = Report()
        self.documents: list[Node] = []
        self.files: tuple[str, ...] = ()
        self.unread = False  # some file could not be read at all, so what it holds is not known
        self.upstream_sections: dict[str, Section] = {}
        self.receiver_sections: dict[str, Section] = {}
        self.route_sections: dict[str, Section] = {}
        self.holds_secrets = False
        self.promises: dict[str, str] = {}

    def read(self, paths: Sequence[Path], files: Sequence[str]) -> None:
        """Read all files, each as far as it goes."""
        self.files = tuple(files)
        if not files:
            names = ", ".join(str(path) for path in paths) or "nothing"
            self.report.add(Place(names), (), "no policy files here: names that end in .yaml or .yml")
        for file in files:
            shown = _shown(file)
            try:
                document = read_document(self.context.reading.read(file, MAX_BYTES), shown)
            except OSError as error:
                self.unread = True
                self.report.add(Place(shown), (), f"cannot be read: {why(error)}")
            except PolicyErrors as error:
                self.unread = True
                self.report.findings.extend(error.findings)
            else:
                self.documents.append(self._prepared(document))

    def _prepared(self, document: Node) -> Node:
        """A file's document with variables inserted and defaults merged, checked against the schema."""
        document = settle_types(self.variables.insert(document, self.report))
        document, literal = with_secrets_marked(self._merged(document))
        self.holds_secrets = self.holds_secrets or literal
        validate(document, self.report)
        for path, node in secrets_in_stored(document):
            self.report.add(node.place, path, "a secret cannot stand here: this is stored with each process")
        return document

    def _merged(self, document: Node) -> Node:
        """The document with its route_defaults under every route."""
        if not isinstance(document.value, dict):
            return document
        defaults, routes = document.value.get("route_defaults"), document.value.get("routes")
        if defaults is None or not isinstance(defaults.value, dict):
            return document
        if "name" in defaults.value:
            self.report.add(
                defaults.value["name"].named_at, ("route_defaults", "name"), "each route has a name of its own"
            )
        if routes is None or not isinstance(routes.value, list):
            return document
        merged = [route.merged_over(defaults) for route in routes.value]
        whole = Node(merged, routes.place, routes.key_place)
        return Node({**document.value, "routes": whole}, document.place)

    def table(self) -> Table:
        """The table of all that is right so far; what is wrong goes to the report."""
        upstreams = dict(self._upstreams())
        receivers = dict(self._receivers())
        routes = dict(self._routes(upstreams))
        known = [route for name, route in routes.items() if not made_up(self.route_sections[name].node)]
        check_routes(known, self.route_sections)
        default = self._default(upstreams)
        if not self.route_sections and default is None and not self.report.errors():
            self.report.add(
                self.documents[0].place, (), "expected routes, or a default: nothing here serves any request"
            )
        return Table(
            revision=self._revision(), upstreams=upstreams, routes=routes, default=default, receivers=receivers
        )

    def _upstreams(self) -> Iterator[tuple[str, Upstream]]:
        schema = policy_schema()["$defs"]["upstream"]
        for document in self.documents:
            for name, node in document.at(("upstreams",)).children() if _has(document, "upstreams", dict) else ():
                path: KeyPath = ("upstreams", name)
                if self._taken(self.upstream_sections, str(name), node, path, "upstream"):
                    continue
                broken = self._broken(node, path)
                rest = self.report.sound_part(node, path)
                whole = rest is not None and isinstance(values := rest.plain(), dict) and "url" in values
                section = Section(node, path, with_defaults(values, schema) if whole else {}, self.report)
                self.upstream_sections[str(name)] = section
                if not whole:
                    continue
                make = partial(build_upstream, str(name), context=self.context)
                upstream = build_known(section, make, _ALONE_OF_UPSTREAM)
                if upstream is None and unknown(node):
                    upstream = replace(_ANY, name=str(name))
                if upstream is not None and not broken:
                    yield str(name), upstream

    def _receivers(self) -> Iterator[tuple[str, Receiver]]:
        schema = policy_schema()["$defs"]["receiver"]
        for document in self.documents:
            for name, node in document.at(("receivers",)).children() if _has(document, "receivers", dict) else ():
                path: KeyPath = ("receivers", name)
                if self._taken(self.receiver_sections, str(name), node, path, "receiver"):
                    continue
                broken = self._broken(node, path)
                values = {} if broken else with_defaults(node.plain(), schema)
                section = Section(node, path, values, self.report)
                self.receiver_sections[str(name)] = section
                make = partial(build_receiver, str(name), context=self.context)
                receiver = None if broken else build_known(section, make, _ALONE_OF_RECEIVER)
                if receiver is not None:
                    yield str(name), receiver

    def _routes(self, upstreams: Mapping[str, Upstream]) -> Iterator[tuple[str, Route]]:
        schema = policy_schema()["$defs"]["route"]
        for document in self.documents:
            for index, node in document.at(("routes",)).children() if _has(document, "routes", list) else ():
                path: KeyPath = ("routes", index)
                values = node.plain()
                if self._broken(node, path):
                    self._note_name(node, path)
                    self._look_further(node, path, upstreams)
                    continue
                name: str = values["name"]
                if self._taken(self.route_sections, name, node.at(("name",)), (*path, "name"), "route"):
                    continue
                section = Section(node, path, with_defaults(values, schema), self.report)
                self.route_sections[name] = section
                route = build_known(section, lambda part: self._route(part, upstreams), _ALONE)
                if route is not None:
                    yield name, route

    def _route(self, section: Section, upstreams: Mapping[str, Upstream]) -> Route | None:
        upstream = self._upstream(section.values["upstream"], upstreams, section)
        built = build_route(section, upstream or _ANY, self.context, self._probed(section, upstreams))
        if not self._receivers_known(section) or built is None or upstream is None:
            return None
        self.promises[built.route.promise.digest] = built.promise_text
        return built.route

    def _note_name(self, node: Node, path: KeyPath) -> None:
        """A route with errors still holds its name."""
        name = node.at(("name",))
        if isinstance(name.value, str):
            section = Section(node, path, {}, self.report)
            if not self._taken(self.route_sections, name.value, name, (*path, "name"), "route"):
                self.route_sections[name.value] = section

    def _look_further(self, node: Node, path: KeyPath, upstreams: Mapping[str, Upstream]) -> None:
        """Find what else is wrong with a route that has errors, as far as one key alone can be wrong."""
        rest = self.report.sound_part(node, path)
        if rest is None:
            return
        values = with_defaults({"name": "", **rest.plain()}, policy_schema()["$defs"]["route"])
        if "match" not in values:
            return
        section = Section(rest, path, values, Report())
        upstream = self._upstream(values["upstream"], upstreams, section) if "upstream" in values else None
        build_route(section, upstream or _ANY, self.context)
        self.report.take_over(section.report, lambda _, at: below_any(at[len(path) :], _ALONE))

    def _default(self, upstreams: Mapping[str, Upstream]) -> Default | None:
        first: Node | None = None
        default = None
        for document in self.documents:
            node = document.at(("default",))
            if node is document:
                continue
            if first is not None:
                self.report.add(node.named_at, ("default",), f"there is a default already, at {first.named_at}")
                continue
            first = node
            if self._broken(node, ("default",)):
                continue
            values = with_defaults(node.plain(), policy_schema()["$defs"]["default"])
            section = Section(node, ("default",), values, self.report)
            upstream = self._upstream(values["upstream"], upstreams, section)
            if upstream is not None:
                default = Default(upstream=upstream, rewrite=build_rewrite(values["rewrite"]))
        return default

    def _probed(self, section: Section, upstreams: Mapping[str, Upstream]) -> Upstream | None:
        name = section.values["call"].get("probe", {}).get("upstream")
        return self._upstream(name, upstreams, section, ("call", "probe", "upstream")) if name is not None else None

    def _upstream(
        self, name: str, upstreams: Mapping[str, Upstream], section: Section, keys: KeyPath = ("upstream",)
    ) -> Upstream | None:
        if section.node.at(keys).unresolved:
            return _ANY
        # One that is broken, or may stand in a file that could not be read, has been told of already.
        if name not in self.upstream_sections and not self.unread:
            hint = nearest(name, self.upstream_sections)
            section.complain(keys, f"there is no upstream {name}; {hint}")
        return upstreams.get(name)

    def _receivers_known(self, section: Section) -> bool:
        known = True
        for index, name in enumerate(section.values.get("callbacks", {}).get("receivers", ())):
            if section.node.at(("callbacks", "receivers", index)).unresolved:
                continue
            # As with upstreams: one that is broken has been told of already.
            if name not in self.receiver_sections and not self.unread:
                hint = nearest(name, self.receiver_sections)
                section.complain(("callbacks", "receivers", index), f"there is no receiver {name}; {hint}")
                known = False
        return known

    def _taken(self, known: Mapping[str, Section], name: str, node: Node, path: KeyPath, kind: str) -> bool:
        if name not in known:
            return False
        text = f"there is {'an' if kind == 'upstream' else 'a'} {kind} {name} already, at {known[name].node.named_at}"
        self.report.add(node.named_at, path, text)
        return True

    def _broken(self, node: Node, path: KeyPath) -> bool:
        """Whether the schema found something wrong in this part."""
        return self.report.broken(node.place.file, path)

    def _revision(self) -> str:
        """A digest of what the table was made from.

        A secret counts by the stamp of its file only: a digest of it could be used to try guesses.
        """
        reading = self.context.reading
        content: list[Any] = [_masked(document) for document in self.documents]
        policy = {document.place.file for document in self.documents}
        for path, stamp in sorted(reading.stamps.items()):
            if _shown(path) not in policy:
                content.append(reading.digests.get(path) or [path, stamp])
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _shown(path: str) -> str:
    """A path as it is shown: relative, where it lies below the working directory."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _has(document: Node, key: str, kind: type) -> bool:
    return isinstance(document.value, dict) and key in document.value and isinstance(document.value[key].value, kind)


def _masked(node: Node) -> Any:
    # One that stands in the file itself has no file of its own whose stamp would tell of a change; it counts as it is.
    if node.secret and node.inserted:
        return "a secret"
    if isinstance(node.value, dict):
        return {key: _masked(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_masked(child) for child in node.value]
    return node.value
