"""Variables in scalars: ``${env:NAME}``, ``${env:NAME:-default}``, ``${file:PATH}``, ``${secret-env:NAME}``.

``$${`` stands for ``${``. What is inserted is never looked at for variables again. Files and ``secret-env`` are
secrets: they are never shown, and no stored part of the policy may hold one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import count

from strangler.config.files import Reading, why
from strangler.config.located import KeyPath, Node, Report
from strangler.config.scalars import is_text

_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_FILE = 64 * 1024  # bytes of an inserted file
_FORMS = "expected ${env:NAME}, ${env:NAME:-default}, ${file:PATH} or ${secret-env:NAME}; $${ stands for ${"
_UNRESOLVED = "unresolved-"  # with a number: stands for what is not known, where that is allowed; no two are equal


class SecretText(str):
    """A text that does not show itself where values are printed for debugging."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


def part(text: str, whole: str) -> str:
    """A part of a text, which is as secret as the whole."""
    return SecretText(text) if isinstance(whole, SecretText) else text


class Unresolved(ValueError):
    """A variable that cannot be resolved here and now; its text says why."""


class Variables:
    """Inserts variables into the values of a policy."""

    def __init__(self, environ: Mapping[str, str], reading: Reading, *, offline: bool = False) -> None:
        self._environ = environ
        self._reading = reading
        self._offline = offline
        self._numbers = count(1)
        self.named: set[str] = set()  # those of the environment that were asked for, be they there or not

    def insert(self, root: Node, report: Report) -> Node:
        """The same values with all variables in their places; what is wrong goes to the report.

        Offline, what cannot be resolved is a note, and a stand-in takes its place.
        """
        return self._node(root, (), report)

    def text(self, text: str, folder: str) -> str:
        """One text with its variables in their places, as for a flag of the command line.

        Raises:
            Unresolved: one cannot be resolved.
            ValueError: one is not well formed.
        """
        return self._inserted(text, folder)[0]

    def _node(self, node: Node, path: KeyPath, report: Report) -> Node:
        if isinstance(node.value, dict):
            return replace(node, value={k: self._node(child, (*path, k), report) for k, child in node.value.items()})
        if isinstance(node.value, list):
            items = [self._node(child, (*path, index), report) for index, child in enumerate(node.value)]
            return replace(node, value=items)
        if not isinstance(node.value, str) or "${" not in node.value:
            return node
        try:
            text, secret = self._inserted(node.value, os.path.dirname(node.place.file))
        except Unresolved as error:
            report.add(node.place, path, str(error), "note" if self._offline else "error")
            stand_in = _VARIABLE.sub(lambda _: f"{_UNRESOLVED}{next(self._numbers)}", node.value)
            return replace(node, value=stand_in, inserted=True, unresolved=True)
        except ValueError as error:
            report.add(node.place, path, str(error))
            return replace(node, inserted=True, unresolved=True)
        return replace(node, value=SecretText(text) if secret else text, inserted=True, secret=secret)

    def _inserted(self, text: str, folder: str) -> tuple[str, bool]:
        secret = False

        def value(found: re.Match[str]) -> str:
            nonlocal secret
            if found[1] is None:
                return "${"
            if not found[2]:
                raise ValueError(f"a variable is not closed; {_FORMS}")
            kind, _, name = found[1].partition(":")
            secret = secret or kind != "env"
            return self._value(kind, name, folder)

        return _VARIABLE.sub(value, text), secret

    def _value(self, kind: str, name: str, folder: str) -> str:
        if kind == "file" and name:
            return self._file(name, folder)
        name, given, default = name.partition(":-") if kind == "env" else (name, "", "")
        if kind not in ("env", "secret-env") or not _NAME.fullmatch(name):
            raise ValueError(_FORMS)
        self.named.add(name)
        found = self._environ.get(name)
        if found and not is_text(found):
            raise ValueError(f"what the environment has as {name} is not UTF-8")
        # As in a shell, ":-" also stands in for what is set to nothing.
        if found or (found is not None and not given):
            return found
        if given:
            return default
        raise Unresolved(f"the environment has no {name}")

    def _file(self, name: str, folder: str) -> str:
        path = os.path.abspath(os.path.join(folder, name))
        try:
            data = self._reading.read(path, _MAX_FILE, secret=True)
        except OSError as error:
            raise Unresolved(f"{path} cannot be read: {why(error)}") from None
        if len(data) > _MAX_FILE:
            raise ValueError(f"{path} is longer than {_MAX_FILE} bytes")
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not UTF-8") from None
        if not text.strip():
            # A secret that is being written, or whose mount is gone, would become one that everybody knows.
            raise ValueError(f"{path} is empty")
        # Files end in a line break that nobody means.
        return text.removesuffix("\n").removesuffix("\r")
