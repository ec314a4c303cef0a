"""Making a body: plain values or a template to JSON, XML, SOAP, a form or text, in the charset of the reader."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus, urlencode

import orjson

from strangler.policy.expressions import REPLY_NAMES, ExpressionError, Template
from strangler.policy.formula import Compiled, FindHook
from strangler.policy.measure import Document
from strangler.policy.wall import Content
from strangler.policy.xml_writing import declaration, document, elements, envelope, escaped, text_of

_MEDIA_TYPES = {
    "json": "application/json",
    "xml": "application/xml",
    "form": "application/x-www-form-urlencoded",
    "text": "text/plain",
}


class Rendering:
    """A compiled `Content`."""

    def __init__(self, content: Content, find: FindHook, names: frozenset[str] = REPLY_NAMES) -> None:
        """Compile.

        Raises:
            ExpressionSyntaxError, ExpressionError: as `Compiled` and `Template`.
        """
        self._content = content
        self._body = Compiled(content.body, find, names) if content.body is not None else None
        self._template = Template(content.template, names) if content.template is not None else None
        self._header = Compiled(content.soap_header, find, names) if content.soap_header is not None else None
        self._in_unicode = content.charset.lower().startswith("utf")
        self.content_type = content_type(content)

    @property
    def has_hooks(self) -> bool:
        """Whether it calls a function of Python."""
        return any(each is not None and each.is_hook for each in (self._body, self._header))

    @property
    def names(self) -> frozenset[str]:
        """By which its expressions enter the document; all for a hook."""
        names: frozenset[str] = self._template.names if self._template is not None else frozenset()
        for formula in (self._body, self._header):
            names |= formula.names if formula is not None else frozenset()
        return names

    def body(self, values: Mapping[str, Any] | Document) -> bytes:
        """The body for a document.

        Raises:
            ExpressionError: it cannot be evaluated, or its value cannot be written in this form or charset.
        """
        values, charset = Document.of(values), self._content.charset
        if self._content.format == "json" and charset == "utf-8":
            return self._json(values)
        text = self._text(values)
        # XML can spell by number what its charset lacks; nothing else can.
        spelled = "xmlcharrefreplace" if self._content.format in ("xml", "soap") else "strict"
        try:
            return text.encode(charset, spelled)
        except UnicodeEncodeError as error:
            raise ExpressionError(f"U+{ord(text[error.start]):04X} cannot be written in {charset}") from None

    def _text(self, values: Document) -> str:
        content, template = self._content, self._template
        match content.format:
            case "json":
                return self._json(values).decode()
            case "form":
                return template.filled(values, self._form_value) if template is not None else self._form(values)
            case "text":
                return template.filled(values, text_of) if template is not None else text_of(self._value(values))
            case "xml":
                if template is not None:
                    filled = template.filled(values, _xml_part)
                    return filled if filled.lstrip().startswith("<?xml") else declaration(content.charset) + filled
                return document(self._value(values), content.namespaces, content.charset)
            case "soap":
                inner = template.filled(values, _xml_part) if template is not None else _inner(self._value(values))
                header = elements(self._header.value(values)) if self._header is not None else None
                return envelope(content.soap_version, header, inner, content.namespaces, content.charset)

    def _value(self, values: Document) -> Any:
        assert self._body is not None
        return self._body.value(values)

    def _json(self, values: Document) -> bytes:
        assert self._body is not None
        value = self._body.value(values)
        if self._in_unicode and self._body.is_plain(values):
            try:
                return orjson.dumps(value)  # the same text in a tenth of the time
            except TypeError:
                pass  # an integer of more than 64 bits, or half of a surrogate pair
        return _json(value, ascii_only=not self._in_unicode)

    def _form(self, values: Document) -> str:
        value = self._value(values)
        if not isinstance(value, Mapping):
            raise ExpressionError("expected a mapping of names to values, to make a form of")
        fields = [
            (str(name), text_of(each))
            for name, part in value.items()
            for each in (part if isinstance(part, list) else [part])
            if each is not None
        ]
        try:
            return urlencode(fields, encoding=self._content.charset, errors="strict")
        except UnicodeEncodeError:
            raise ExpressionError(f"a value cannot be written in {self._content.charset}") from None

    def _form_value(self, value: Any) -> str:
        try:
            return quote_plus(text_of(value), encoding=self._content.charset, errors="strict")
        except UnicodeEncodeError:
            raise ExpressionError(f"a value cannot be written in {self._content.charset}") from None


def content_type(content: Content) -> bytes:
    """The ``Content-Type`` of what is made."""
    if content.format == "soap":
        if content.soap_version == "1.1":
            return f"text/xml; charset={content.charset}".encode()
        action = f'; action="{content.soap_action}"' if content.soap_action else ""
        return f"application/soap+xml; charset={content.charset}{action}".encode()
    if content.format in ("json", "form"):
        # JSON is UTF-8 or escaped (RFC 8259 section 8.1), and a form is ASCII.
        return _MEDIA_TYPES[content.format].encode()
    return f"{_MEDIA_TYPES[content.format]}; charset={content.charset}".encode()


def _json(value: Any, *, ascii_only: bool) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=ascii_only, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise ExpressionError("a number that JSON has no way to write") from None
    # A lone surrogate becomes the escape by which JSON spells it.
    return text.encode("utf-8", "backslashreplace")


def _xml_part(value: Any) -> str:
    """A value in a template of XML: text is escaped, a mapping becomes elements."""
    return elements(value) if isinstance(value, Mapping) else escaped(text_of(value))


def _inner(value: Any) -> str:
    return "" if value is None else elements(value)
