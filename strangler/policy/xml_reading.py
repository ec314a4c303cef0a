"""XML and SOAP to plain values, by the expat that comes with Python.

There is no document type, and with it no entity and nothing external: a document that has one is refused at once.
Depth, number of elements and attributes, and the length of a tag are bounded while it is read.

An element becomes its text, where it has nothing else; else a mapping of its attributes (``@name``), its children by
name, a list where there are several of one name, and its text (``#text``). Prefixes are the sender's and mean nothing:
an element goes by its local name, or by the prefix that the policy gives its namespace. White space around text is
dropped; ``xsi:nil`` is null.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple
from xml.parsers import expat

from strangler.policy.readable import Unparsable

MAX_DEPTH = 90  # of elements; expressions take 100 levels of values
MAX_NODES = 100_000  # elements and attributes
MAX_TAG = 128 * 1024  # bytes of one tag, comment or instruction

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
    reader = _Reader(frozenset(lists), {uri: prefix for prefix, uri in (namespaces or {}).items()})
    root, value = reader.read(text.encode("utf-8", "surrogatepass"))
    uri, _, name = root.rpartition(_BETWEEN)
    if name == "Envelope" and uri in _SOAP:
        return _opened(value, _SOAP[uri])
    return {reader.names[root]: value}, None


class _Names(dict[str, str]):
    """By the name that expat gives, ``namespace\\nlocal``, the one that an element or attribute goes by."""

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        self._prefixes = prefixes

    def __missing__(self, name: str) -> str:
        uri, _, local = name.rpartition(_BETWEEN)
        prefix = self._prefixes.get(uri)
        self[name] = shown = f"{prefix}:{local}" if prefix else local
        return shown


class _Reader:
    """One document while it is read. Each method is called for each of its elements, thousands of times."""

    def __init__(self, lists: frozenset[str], prefixes: Mapping[str, str]) -> None:
        self.names = _Names(prefixes)
        self._lists = lists
        # Of the elements that are open: attributes and children, and where in `_texts` its text begins.
        self._open: list[tuple[dict[str, Any], int]] = []
        self._texts: list[str] = []  # of all of them, one after the other
        self._nodes = 0
        self._root: tuple[str, Any] | None = None

    def read(self, data: bytes) -> tuple[str, Any]:
        # The text was decoded already: whatever the declaration says of its encoding is overridden.
        parser = expat.ParserCreate("utf-8", _BETWEEN)
        parser.buffer_text = True
        parser.ordered_attributes = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._texts.append
        parser.StartDoctypeDeclHandler = self._document_type
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
        assert self._root is not None
        return self._root

    def _start(self, name: str, attributes: list[str]) -> None:
        self._nodes += 1 + len(attributes) // 2
        if self._nodes > MAX_NODES:
            raise Unparsable(f"more than {MAX_NODES} elements and attributes")
        if len(self._open) >= MAX_DEPTH:
            raise Unparsable(f"nested more than {MAX_DEPTH} deep")
        element: dict[str, Any] = {}
        if attributes:
            for key, value in zip(attributes[::2], attributes[1::2], strict=True):
                if key == _NIL:
                    element[_NIL] = value.strip() in ("true", "1")
                else:
                    element[f"@{self.names[key]}"] = value
        self._open.append((element, len(self._texts)))

    def _end(self, name: str) -> None:
        element, begin = self._open.pop()
        value: Any = ""
        texts = self._texts
        if len(texts) > begin:
            value = "".join(texts[begin:]).strip()
            del texts[begin:]
        if element:
            value = _value(element, value)
        if not self._open:
            self._root = (name, value)
            return
        shown, siblings = self.names[name], self._open[-1][0]
        if shown not in siblings:
            siblings[shown] = [value] if shown in self._lists else value
        elif isinstance(siblings[shown], list):  # the value of an element never is one
            siblings[shown].append(value)
        else:
            siblings[shown] = [siblings[shown], value]

    def _document_type(self, *_: Any) -> None:
        raise Unparsable("it has a document type, which is never taken")


def _value(element: dict[str, Any], text: str) -> Any:
    """The value of an element with attributes or children."""
    nil = element.pop(_NIL, False)
    if not element:
        return None if nil else text
    if text:
        element["#text"] = text
    return element


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
