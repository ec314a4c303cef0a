"""Values of a policy file together with where they stand, and findings that say so."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from strangler.domain.errors import OperatorError

Scalar = str | int | float | bool | None
KeyPath = tuple[str | int, ...]


class Place(NamedTuple):
    """A place in a file; lines and columns count from 1, and 0 is: the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a policy file: a mapping, a list, or a scalar typed by the core schema of YAML 1.2."""

    value: dict[str, Node] | list[Node] | Scalar
    place: Place
    key_place: Place | None = None  # of the key, where it is the value of one
    flow: bool = False  # a mapping or list in braces or brackets
    inserted: bool = False  # a variable was inserted into it
    secret: bool = False  # … and that was a secret
    unresolved: bool = False  # … or could not be resolved, which is a note where it is allowed
    made_up: bool = False  # … and its own text fits nowhere near, so that another value stands in for it

    @property
    def named_at(self) -> Place:
        """The place of the key, where there is one; else of the value."""
        return self.key_place or self.place

    def plain(self) -> Any:
        """The value as plain dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def children(self) -> Iterator[tuple[str | int, Node]]:
        """The members of a mapping, the items of a list."""
        if isinstance(self.value, dict):
            yield from self.value.items()
        elif isinstance(self.value, list):
            yield from enumerate(self.value)

    def at(self, path: Iterable[str | int]) -> Node:
        """The value at a key path, or the innermost that there is on the way to it."""
        node = self
        for step in path:
            if isinstance(node.value, dict) and step in node.value:
                node = node.value[str(step)]
            elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
            else:
                break
        return node

    def walk(self, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Node]]:
        """This value and all within it, with their key paths."""
        yield path, self
        for step, child in self.children():
            yield from child.walk((*path, step))

    def merged_over(self, base: Node) -> Node:
        """This value laid over ``base``: mappings merge, scalars and lists replace."""
        if not isinstance(self.value, dict) or not isinstance(base.value, dict):
            return self
        merged = dict(base.value)
        for key, child in self.value.items():
            merged[key] = child.merged_over(merged[key]) if key in merged else child
        return replace(self, value=merged)

    def shown(self) -> str:
        """The value as it may stand in a message; a secret is never shown."""
        if self.secret:
            return "a secret"
        match self.value:
            case dict():
                return "a mapping"
            case list():
                return "a list"
            case None:
                return "nothing"
            case bool():
                return str(self.value).lower()
            case str():
                text = self.value if len(self.value) <= 60 else self.value[:57] + "…"
                return f'"{text}"'
        return str(self.value)


Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something to tell of a policy: an error, a warning (legal but unwise), or a note."""

    place: Place
    path: str = field(compare=False)  # of the key: routes[0].call.attempts; empty: the file as a whole
    text: str
    level: Level = "error"

    def __str__(self) -> str:
        level = "" if self.level == "error" else f"{self.level}: "
        return _printable(f"{self.place}: {level}{self.path + ': ' if self.path else ''}{self.text}")


def told_once(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """In the order of files and lines, and each once.

    What route_defaults says wrong comes up again in every route, at the same key of each; the first is the one to show.
    """
    seen: dict[tuple[Finding, str], Finding] = {}
    for finding in sorted(findings):
        seen.setdefault((finding, finding.path.rpartition(".")[2]), finding)
    return tuple(seen.values())


class PolicyErrors(OperatorError):
    """A policy does not load. Its text is the full report, all errors of the load with their places."""

    def __init__(self, findings: Iterable[Finding], stamps: Mapping[str, Any] | None = None) -> None:
        self.findings = told_once(findings)
        self.stamps = dict(stamps or {})
        """What was read, or looked for, with its stamp: a change of any of it may mend the policy."""
        super().__init__("\n".join(str(finding) for finding in self.findings))


class Report:
    """Gathers the findings of one load."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._paths: list[KeyPath] = []  # of the findings, in their order
        self._wrong: set[tuple[str, KeyPath]] = set()  # where errors are
        self._broken: set[tuple[str, KeyPath]] = set()  # where errors are, or below

    def add(self, place: Place, path: KeyPath, text: str, level: Level = "error") -> None:
        """Note a finding."""
        self._note(Finding(place, written(path), text, level), path)

    def take_over(self, other: Report, wanted: Callable[[Finding, KeyPath], bool]) -> None:
        """Note what is wanted of what another report found."""
        for finding, path in zip(other.findings, other._paths, strict=True):
            if wanted(finding, path):
                self._note(finding, path)

    def errors(self) -> list[Finding]:
        """What keeps the policy from loading."""
        return [finding for finding in self.findings if finding.level == "error"]

    def broken(self, file: str, path: KeyPath) -> bool:
        """Whether there is an error at a key path of a file, or below it."""
        return (file, path) in self._broken

    def sound_part(self, node: Node, path: KeyPath) -> Node | None:
        """What is left of a value without what is wrong in it; None: nothing."""
        file = node.place.file
        if (file, path) in self._wrong:
            return None
        if (file, path) not in self._broken:
            return node
        children = {step: self.sound_part(child, (*path, step)) for step, child in node.children()}
        if isinstance(node.value, list):
            return None  # a list means something only as a whole
        if any(at == file and of[:-1] == path and of[-1] not in children for at, of in self._wrong if of):
            return None  # a key is missing
        return replace(node, value={str(step): child for step, child in children.items() if child is not None})

    def _note(self, finding: Finding, path: KeyPath) -> None:
        self.findings.append(finding)
        self._paths.append(path)
        if finding.level == "error":
            self._wrong.add((finding.place.file, path))
            self._broken.update((finding.place.file, path[:length]) for length in range(len(path) + 1))


def below_any(path: KeyPath, keys: Iterable[tuple[str, ...]]) -> bool:
    """Whether a path is at one of these keys, or below; numbers of a list do not count."""
    named = tuple(step for step in path if isinstance(step, str))
    return any(named[: len(each)] == each for each in keys)


def _printable(text: str) -> str:
    """What a policy holds must not steer a terminal, or look like a line of its own."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def written(path: KeyPath) -> str:
    """A key path as text: ``routes[0].call.attempts``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def similar(name: str, known: Iterable[str]) -> str | None:
    """The known name that was perhaps meant."""
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)), None)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that was perhaps meant, or at all of them: "did you mean …?" or "known here: …"."""
    names = sorted(known)
    if meant := similar(name, names):
        return f"did you mean {meant}?"
    return f"known here: {', '.join(names)}" if names else "nothing is known here"
