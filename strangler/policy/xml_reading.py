"""XML and SOAP to plain values, by the expat that comes with Python.

There is no document type, and with it no entity and nothing external: a document that has one is refused at once.
The number of elements and attributes, and the length of a tag, are bounded while it is read, and depth before values
are made of it.

An element becomes its text, where it has nothing else; else a mapping of its attributes (``@name``), its children by
name, a list where there are several of one name, and its text (``#text``). Prefixes are the sender's and mean nothing:
an element goes by its local name, or by the prefix that the policy gives its namespace. White space around text is
dropped; ``xsi:nil`` is null.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from strangler.policy.readable import Unparsable

MAX_DEPTH = 90  # of elements; expressions take 100 levels of values
MAX_NODES = 100_000  # elements and attributes
MAX_TAG = 128 * 1024  # bytes of one tag, comment or instruction

_SHORTEST = 4  # bytes of an element or attribute: "<a/>"
_PIECE = 64 * 1024
_BETWEEN = "\n"  # stands in no name and no namespace
_NIL = "http://www.w3.org/2001/XMLSchema-instance\nnil"
_SOAP: dict[str, Literal["1.1", "1.2"]] = {
    "http://schemas.xmlsoap.org/soap/envelope/": "1.1",
    "http://www.w3.org/2003/05/soap-envelope": "1.2",
}


class Envelope(NamedTuple):
    """What stands around the body of a SOAP message."""

    version: Literal["1.1", "1.2"]
    header: Any  # its children by name; None: it has none

    def plain(self) -> dict[str, Any]:
        """It as expressions see it."""
        return {"version": self.version, "header": self.header}


def read_xml(
    text: str, *, lists: Collection[str] = (), namespaces: Mapping[str, str] | None = None
) -> tuple[Any, Envelope | None]:
    """The value of an XML text, ``{root: …}``; of a SOAP message, what stands in its Body, and its envelope.

    A fault of either version of SOAP is ``{"Fault": {"code", "subcode", "reason", "actor", "detail"}}``.

    Args:
        lists: names of elements that are lists even where there is one.
        namespaces: prefix to namespace, of the elements that are named ``prefix:name``.

    Raises:
        Unparsable: it is not well formed, has a document type, or is too deep or too large.
    """
    root = _tree(text.encode("utf-8", "surrogatepass"))
    reading = _Reading(frozenset(lists), {uri: prefix for prefix, uri in (namespaces or {}).items()})
    value = reading.value(root)
    uri, _, name = root.tag.rpartition(_BETWEEN)
    if name == "Envelope" and uri in _SOAP:
        return _opened(value, _SOAP[uri])
    return {reading.names[root.tag]: value}, None


class _Names(dict[str, str]):
    """By the name that expat gives, ``namespace\\nlocal``, the one that an element or attribute goes by."""

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        self._prefixes = prefixes

    def __missing__(self, name: str) -> str:
        uri, _, local = name.rpartition(_BETWEEN)
        prefix = self._prefixes.get(uri)
        self[name] = shown = f"{prefix}:{local}" if prefix else local
        return shown


def _tree(data: bytes) -> Element:
    """The elements of a document. Nothing of Python runs for each of them, but for those of a long one."""
    # The text was decoded already: whatever the declaration says of its encoding is overridden.
    parser = expat.ParserCreate("utf-8", _BETWEEN)
    builder = TreeBuilder()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start if len(data) <= _SHORTEST * MAX_NODES else _counted(builder)
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _document_type
    try:
        for start in range(0, len(data), _PIECE):
            stop = start + _PIECE
            parser.Parse(data[start:stop], False)
            if stop - parser.CurrentByteIndex > MAX_TAG:
                raise Unparsable(f"a tag of more than {MAX_TAG} bytes")
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        reason = expat.errors.messages.get(error.code, "not well formed")
        raise Unparsable(f"not XML: {reason} at line {error.lineno}, column {error.offset + 1}") from None
    return builder.close()


def _counted(builder: TreeBuilder) -> Callable[[str, dict[str, str]], None]:
    """Begins elements until there are too many."""
    nodes = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal nodes
        nodes += 1 + len(attributes)
        if nodes > MAX_NODES:
            raise Unparsable(f"more than {MAX_NODES} elements and attributes")
        builder.start(name, attributes)

    return start


def _document_type(*_: Any) -> None:
    raise Unparsable("it has a document type, which is never taken")


class _Reading:
    """Elements as values."""

    def __init__(self, lists: frozenset[str], prefixes: Mapping[str, str]) -> None:
        self.names = _Names(prefixes)
        self._lists = lists

    def value(self, element: Element, depth: int = 1) -> Any:
        """The value of an element; ``depth``: of elements, itself among them."""
        if depth == MAX_DEPTH and len(element):
            raise Unparsable(f"nested more than {MAX_DEPTH} deep")
        names, lists = self.names, self._lists
        value: dict[str, Any] = {}
        nil, texts = False, [element.text or ""]
        for key, attribute in element.items():
            if key == _NIL:
                nil = attribute.strip() in ("true", "1")
            else:
                value[f"@{names[key]}"] = attribute
        for child in element:
            # Most elements have nothing but a text.
            inner = self.value(child, depth + 1) if len(child) or child.keys() else (child.text or "").strip()
            if tail := child.tail:
                texts.append(tail)
            name = names[child.tag]
            if name not in value:
                value[name] = [inner] if name in lists else inner
            elif type(siblings := value[name]) is list:  # the value of an element never is one
                siblings.append(inner)
            else:
                value[name] = [siblings, inner]
        text = "".join(texts).strip()
        if not value:
            return None if nil else text
        if text:
            value["#text"] = text
        return value


def _opened(value: Any, version: Literal["1.1", "1.2"]) -> tuple[Any, Envelope]:
    parts = value if isinstance(value, dict) else {}
    header, body = parts.get("Header"), parts.get("Body")
    if "Body" not in parts or isinstance(body, list):
        raise Unparsable("a SOAP message without one Body")
    if isinstance(body, dict) and isinstance(body.get("Fault"), dict):
        body = {**body, "Fault": _fault(body["Fault"], version)}
    return body if body != "" else None, Envelope(version, header if isinstance(header, dict) else None)


def _fault(fault: Mapping[str, Any], version: Literal["1.1", "1.2"]) -> dict[str, Any]:
    """A fault of either version in the same words; codes without the sender's prefix."""
    if version == "1.1":
        code = _local(_text_of(fault.get("faultcode")))
        plain = {
            "code": code.partition(".")[0],
            "subcode": code.partition(".")[2],  # SOAP 1.1 section 4.4.1: "Client.Authentication"
            "reason": _text_of(fault.get("faultstring")),
            "actor": _text_of(fault.get("faultactor")),
            "detail": fault.get("detail"),
        }
    else:
        outer = fault.get("Code")
        code_part: Mapping[str, Any] = outer if isinstance(outer, dict) else {}
        inner = code_part.get("Subcode")
        reason = fault.get("Reason")
        texts = reason.get("Text") if isinstance(reason, dict) else reason
        plain = {
            "code": _local(_text_of(code_part.get("Value"))),
            "subcode": _local(_text_of(inner.get("Value"))) if isinstance(inner, dict) else "",
            "reason": _text_of(texts[0] if isinstance(texts, list) and texts else texts),
            "actor": _text_of(fault.get("Role")),
            "detail": fault.get("Detail"),
        }
    return {name: part for name, part in plain.items() if part not in (None, "")}


def _text_of(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("#text")
    return value if isinstance(value, str) else ""


def _local(code: str) -> str:
    return code.rpartition(":")[2]
