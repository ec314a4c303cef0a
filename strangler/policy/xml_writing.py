"""Plain values to XML and SOAP: the reverse of `xml_reading`, every value escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal
from xml.sax.saxutils import escape

from strangler.policy.expressions import ExpressionError, number_text

ENVELOPES: Mapping[str, str] = {
    "1.1": "http://schemas.xmlsoap.org/soap/envelope/",
    "1.2": "http://www.w3.org/2003/05/soap-envelope",
}

_NAME = re.compile(r"[A-Za-z_À-ÖØ-öø-ÿ][\w.-]*(?::[A-Za-z_À-ÖØ-öø-ÿ][\w.-]*)?")
_NAME_LENGTH = 1000
# What XML 1.0 (section 2.2) cannot hold in any spelling.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SPECIAL = re.compile(f"[&<>\"'\r]|{_NOT_XML.pattern}")
_OTHERS = ("@", "#")  # begin the names of what is no element, but an attribute of one or its text
_QUOTES = str.maketrans({"\n": "&#10;", "\t": "&#9;"})


def escaped(text: str) -> str:
    """A text as it may stand between tags and in quotes.

    Raises:
        ExpressionError: it holds a control character, which XML has no way to write.
    """
    if _SPECIAL.search(text) is None:
        return text
    if found := _NOT_XML.search(text):
        raise ExpressionError(f"the character U+{ord(found[0]):04X} cannot stand in XML")
    return escape(text, {'"': "&quot;", "'": "&apos;", "\r": "&#13;"})


def elements(value: Any) -> str:
    """The children that a mapping stands for: names to values, lists repeated, null left out.

    Raises:
        ExpressionError: it is no mapping, or a name is no name of XML.
    """
    if not isinstance(value, Mapping):
        raise ExpressionError("expected a mapping of names to values, to make elements of")
    parts: list[str] = []
    _add_elements(parts, value, _Tags())
    return "".join(parts)


def document(value: Any, namespaces: Mapping[str, str], charset: str) -> str:
    """A whole document of a mapping with one name, that of the root.

    Raises:
        ExpressionError: it is none, or a name is no name of XML.
    """
    if not isinstance(value, Mapping) or len(value) != 1 or isinstance(next(iter(value.values())), list):
        raise ExpressionError("expected a mapping of one name, that of the root element")
    ((name, inner),) = value.items()
    if not _is_name(name):
        raise ExpressionError(f"{name[:60]!r} is no name of an element")
    root = elements({name: "" if inner is None else inner})
    return f"{declaration(charset)}<{name}{_declared(namespaces)}{root[1 + len(name) :]}"


def envelope(
    version: Literal["1.1", "1.2"], header: str | None, body: str, namespaces: Mapping[str, str], charset: str
) -> str:
    """A SOAP message around what stands in its Header and Body, as XML."""
    head = f"<soap:Header>{header}</soap:Header>" if header else ""
    return (
        f'{declaration(charset)}<soap:Envelope xmlns:soap="{ENVELOPES[version]}"{_declared(namespaces)}>'
        f"{head}<soap:Body>{body}</soap:Body></soap:Envelope>"
    )


def declaration(charset: str) -> str:
    """The XML declaration."""
    return f'<?xml version="1.0" encoding="{charset}"?>'


def _declared(namespaces: Mapping[str, str]) -> str:
    return "".join(
        f' xmlns:{prefix}="{escaped(uri)}"' if prefix else f' xmlns="{escaped(uri)}"'
        for prefix, uri in namespaces.items()
    )


class _Tags(dict[str, tuple[str, str, str] | None]):
    """By a name in a mapping, the tags of an element: that begin it, end it, and stand for an empty one; None: it is
    not the name of an element, but of an attribute, or of its text.
    """

    def __missing__(self, name: str) -> tuple[str, str, str] | None:
        tags = None
        if name[:1] not in _OTHERS:
            if not _is_name(name):
                raise ExpressionError(f"{name[:60]!r} is no name of an element")
            tags = f"<{name}>", f"</{name}>", f"<{name}/>"
        self[name] = tags
        return tags


def _add_elements(parts: list[str], value: Mapping[str, Any], known: _Tags) -> bool:
    """Add the children that a mapping stands for. Returns whether it holds attributes or a text, too."""
    others = False
    for name, inner in value.items():
        for each in inner if isinstance(inner, list) and name[:1] not in _OTHERS else (inner,):
            if each is None:
                continue
            tags = known[name]
            if tags is None:
                others = True
                continue
            begin, end, empty = tags
            if type(each) is str:
                text = each if _SPECIAL.search(each) is None else escaped(each)
            elif isinstance(each, dict):
                at = len(parts)
                parts.append(begin)
                if _add_elements(parts, each, known):
                    _add_others(parts, at, each)
                if len(parts) > at + 1:
                    parts.append(end)
                else:
                    parts[at] = f"{parts[at][:-1]}/>"
                continue
            else:
                text = text_of(each)
            if text:
                parts += (begin, text, end)
            else:
                parts.append(empty)
    return others


def _add_others(parts: list[str], at: int, value: Mapping[str, Any]) -> None:
    """Add the attributes to the tag ``at`` which an element begins, and its text."""
    attributes = "".join([_attribute(key, part) for key, part in value.items() if key[:1] == "@"])
    parts[at] = f"{parts[at][:-1]}{attributes}>"
    if value.get("#text") is not None:
        parts.append(escaped(text_of(value["#text"])))


@lru_cache(maxsize=4096)
def _is_name(name: str) -> bool:
    return len(name) <= _NAME_LENGTH and _NAME.fullmatch(name) is not None


def _attribute(key: str, value: Any) -> str:
    if value is None:
        return ""
    if not _is_name(key[1:]):
        raise ExpressionError(f"{key[:60]!r} is no name of an attribute")
    text = text_of(value)
    return f' {key[1:]}="{escaped(text).translate(_QUOTES)}"'


def text_of(value: Any) -> str:
    """A scalar as text: numbers and booleans as `number_text` writes them, nothing for null.

    Raises:
        ExpressionError: it is a mapping or a list, or a number that cannot be written.
    """
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if kind is int:
        return repr(value)
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return number_text(value)
    raise ExpressionError(
        f"a {'mapping' if isinstance(value, Mapping) else 'list'} cannot stand where text is expected"
    )
