"""YAML to located values: PyYAML's parser under the core schema of YAML 1.2, and stricter than it has to be.

Refused: anything but UTF-8, tabs, duplicate keys, keys that are not text, several documents in a file, explicit tags
of any but the core types, anchors that hold themselves or explode.
"""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from strangler.config.located import Finding, KeyPath, Node, Place, PolicyErrors, written
from strangler.config.scalars import is_text, typed

MAX_BYTES = 8 * 1024 * 1024  # of one file
MAX_DEPTH = 60  # of nested mappings and lists
MAX_VALUES = 200_000  # of one file, each use of an anchor counted

_HINT = 'quote values that hold { } * or @, as in path: "/claims/{id}"'
_INDENT = "what belongs together begins in the same column"
_PREFIX = "tag:yaml.org,2002:"
_PLAIN = "plain"  # our tag of a scalar that has none and stands in no quotes


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader up to its nodes; which type a plain scalar has is decided here, not by it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def resolve(self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool]) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _PREFIX + "str"
        return _PREFIX + ("map" if kind is yaml.MappingNode else "seq")

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(None, None, f"nested more than {MAX_DEPTH} deep", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_document(data: bytes, file: str) -> Node:
    """The one document of a file.

    Raises:
        PolicyErrors: it is not well formed, or refused as said above; an empty one is, too.
    """
    if len(data) > MAX_BYTES:
        raise _error(Place(file), f"more than {MAX_BYTES} bytes; share it out over several files")
    text = _decoded(data, file)
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        raise _error(_at(text, error.position, file), "a character that YAML does not allow") from None
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, file) from None
    if root is None:
        raise _error(Place(file, 1, 1), "the file is empty; remove it, or write {} if nothing is meant")
    return _Builder(file).node(root)


def _decoded(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise _error(Place(file, line, column), "not UTF-8") from None


def _at(text: str, position: int, file: str) -> Place:
    return Place(file, text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position))


def _syntax_error(error: yaml.MarkedYAMLError, text: str, file: str) -> PolicyErrors:
    mark = error.problem_mark or error.context_mark
    place = Place(file, mark.line + 1, mark.column + 1) if mark is not None else Place(file)
    if mark is not None and mark.index < len(text) and text[mark.index] == "\t":
        return _error(place, "a tab; YAML is indented with spaces")
    said = " ".join(part for part in (error.context, error.problem) if part)
    begun = error.context_mark
    if mark is not None and begun is not None and begun.line != mark.line:
        said += f" (it begins at line {begun.line + 1})"
    hint = f"{_HINT}; {_INDENT}" if isinstance(error, yaml.parser.ParserError) else _HINT
    return _error(place, f"not YAML: {said}; {hint}")


def _error(place: Place, text: str, path: KeyPath = ()) -> PolicyErrors:
    return PolicyErrors([Finding(place, written(path), text)])


class _Builder:
    """Makes located values of PyYAML's nodes, and keeps count of them."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.count = 0
        self.open: set[int] = set()  # nodes that are being built: one that comes up again holds itself
        self.errors: list[Finding] = []

    def node(self, root: yaml.Node) -> Node:
        built = self._build(root, (), None)
        if self.errors:
            raise PolicyErrors(self.errors)
        return built

    def _build(self, node: yaml.Node, path: KeyPath, key_place: Place | None) -> Node:
        place = self._place(node)
        self.count += 1
        if self.count > MAX_VALUES:
            raise _error(place, f"more than {MAX_VALUES} values; an anchor that explodes?", path)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path, place, key_place)
        if id(node) in self.open:
            raise _error(place, "an anchor that holds itself", path)
        if node.tag not in (_PREFIX + "map", _PREFIX + "seq"):
            self._refuse(place, path, f"the tag {node.tag} is not taken here")
        self.open.add(id(node))
        value: dict[str, Node] | list[Node]
        if isinstance(node, yaml.MappingNode):
            value = dict(self._members(node, path))
        else:
            value = [self._build(item, (*path, index), None) for index, item in enumerate(node.value)]
        self.open.discard(id(node))
        return Node(value, place, key_place, flow=bool(getattr(node, "flow_style", False)))

    def _members(self, node: yaml.MappingNode, path: KeyPath) -> Iterator[tuple[str, Node]]:
        seen: dict[str, Place] = {}
        for key_node, value_node in node.value:
            place = self._place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(place, path, f"a key has to be text; {_HINT}")
                continue
            key = self._scalar(key_node, path, place, None).value
            if not isinstance(key, str):
                self._refuse(place, path, f'a key has to be text; write "{key_node.value}" in quotes')
                continue
            if key in seen:
                self._refuse(place, (*path, key), f"the key {key} stands there twice, first at line {seen[key].line}")
                continue
            seen[key] = place
            yield key, self._build(value_node, (*path, key), place)

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath, place: Place, key_place: Place | None) -> Node:
        if not is_text(node.value):
            text = "half of a surrogate pair is no character; write the whole one, as in \\U0001F600"
            self._refuse(place, path, text)
            return Node("", place, key_place)
        if node.tag == _PREFIX + "str":
            return Node(node.value, place, key_place)
        if node.tag == _PLAIN or node.tag in {_PREFIX + name for name in ("null", "bool", "int", "float")}:
            return Node(typed(node.value), place, key_place)
        self._refuse(place, path, f"the tag {node.tag} is not taken here")
        return Node(None, place, key_place)

    def _refuse(self, place: Place, path: KeyPath, text: str) -> None:
        self.errors.append(Finding(place, written(path), text))

    def _place(self, node: yaml.Node) -> Place:
        return Place(self.file, node.start_mark.line + 1, node.start_mark.column + 1)
