"""What expressions look at: requests, replies and their bodies, as plain documents."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from strangler.domain.exchange import Headers, field_texts, joined_field, joined_fields
from strangler.policy.charset import said_charset
from strangler.policy.expression_tree import REPLY_FIELDS
from strangler.policy.measure import Document, Measure
from strangler.policy.pattern import PathPattern, parse_path
from strangler.policy.readable import (
    MAX_DOCUMENT,
    Unparsable,
    decoded,
    is_packed,
    known_codec,
    media_type,
    read_json,
    unpacked,
)
from strangler.policy.target import as_text, first_values, normal
from strangler.policy.wall import Format, Source
from strangler.policy.xml_reading import Envelope, read_xml

_FORMS: Mapping[str, Format] = {
    "application/json": "json",
    "text/json": "json",
    "application/xml": "xml",
    "text/xml": "xml",
    "application/soap+xml": "xml",
    "application/x-www-form-urlencoded": "form",
}
_MAX_FIELDS = 10_000
_SHORT = 256  # bytes of a Content-Type up to which what it says is remembered

ALL_NAMES = frozenset({"@"})
"""What enters a document as a whole."""


class Read(NamedTuple):
    """A body as expressions see it."""

    body: Any  # None: there is none
    soap: Envelope | None = None
    measure: Measure | None = None  # of the body, at most; None: nobody has measured it

    def document(self) -> Document:
        """The body alone."""
        return Document(self.body, self.measure)


def read_body(data: bytes, headers: Headers, source: Source) -> Read:
    """The value of a body.

    JSON is its value; XML and SOAP as in `read_xml`; a form is a mapping of names to values, a list where a name comes
    more than once; text is text; nothing is None. What is packed with gzip or deflate is unpacked before.

    Raises:
        Unparsable: it is not what it is said to be, nobody says what it is, or it is too large.
    """
    if not data:
        return Read(None)
    if len(data) > MAX_DOCUMENT:
        raise Unparsable(f"it has {len(data)} bytes; at most {MAX_DOCUMENT} are read")
    fields = joined_fields(headers)
    if (coding := fields.get(b"content-encoding")) is not None:
        data = unpacked(data, coding.decode("latin-1"))
    content_type = fields.get(b"content-type", b"")
    kind, said = (_said_again if len(content_type) <= _SHORT else _said)(content_type)
    form = source.format or _form_of(kind)
    text = decoded(data, said, source.charset, xml=form in ("xml", "soap"))
    match form:
        case "json":
            value, measure = read_json(text)
            return Read(value, measure=measure)
        case "xml":
            return Read(*read_xml(text, lists=source.lists, namespaces=source.namespaces))
        case "soap":
            read = Read(*read_xml(text, lists=source.lists, namespaces=source.namespaces))
            if read.soap is None:
                raise Unparsable("it is no SOAP message")
            return read
        case "form":
            return Read(_form(text, source.charset or said or "utf-8"))
        case "text":
            return Read(text)


def weight(size: int, headers: Headers) -> int:
    """Bytes that have to be read of a body of ``size`` bytes, at most: nobody knows what is in a packed one."""
    if not size:
        return 0
    coding = joined_field(headers, b"content-encoding")
    return MAX_DOCUMENT if coding is not None and is_packed(coding.decode("latin-1")) else size


def _said(content_type: bytes) -> tuple[str, str | None]:
    """The media type of a ``Content-Type``, and its charset if it says one."""
    text = content_type.decode("latin-1")
    return media_type(text), said_charset(text)


_said_again = lru_cache(maxsize=64)(_said)


def _form_of(kind: str) -> Format:
    if kind in _FORMS:
        return _FORMS[kind]
    if kind.endswith("+json"):
        return "json"
    if kind.endswith("+xml"):
        return "xml"
    if kind.startswith("text/"):
        return "text"
    raise Unparsable(
        f"nothing is known of the form of {kind or 'a body without Content-Type'}; `source.format` can say"
    )


def _form(text: str, charset: str) -> dict[str, Any]:
    codec = known_codec(charset)
    try:
        pairs = parse_qsl(
            text.strip(), keep_blank_values=True, encoding=codec, errors="strict", max_num_fields=_MAX_FIELDS
        )
    except UnicodeDecodeError as error:
        raise Unparsable(f"it is not {charset} at byte {error.start} of a value") from None
    except ValueError:
        raise Unparsable(f"more than {_MAX_FIELDS} fields") from None
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found


class Asked(NamedTuple):
    """A recorded request, with what is known of its process."""

    method: str
    target: bytes
    headers: Headers
    data: bytes
    caller: str | None
    process: Mapping[str, str]


def request_values(
    asked: Asked, paths: Sequence[str], read: Read, names: Collection[str] = ALL_NAMES
) -> dict[str, Any]:
    """A request as expressions see it; of a query parameter that comes twice, the first value.

    Args:
        names: by which expressions enter it; what takes time to make, or to measure, and is not among them, is absent.
    """
    path, _, query = asked.target.partition(b"?")
    whole = "@" in names
    document: dict[str, Any] = {"method": asked.method, "body": read.body}
    if whole or "path" in names:
        document["path"] = path_parameters(paths, path)
    if whole or "query" in names:
        document["query"] = first_values(query) if query else {}
    if whole or "headers" in names:
        document["headers"] = header_values(asked.headers)
    if whole or "caller" in names:
        document["caller"] = {"name": asked.caller} if asked.caller is not None else {}
    if whole or "process" in names:
        document["process"] = dict(asked.process)
    if read.soap is not None:
        document["soap"] = read.soap.plain()
    return document


def reply_values(status: int, headers: Headers, read: Read, names: Collection[str] = ALL_NAMES) -> dict[str, Any]:
    """A reply as expressions see it; ``names`` as for `request_values`."""
    document: dict[str, Any] = {"status": status}
    if "@" in names or REPLY_FIELDS in names:
        document["headers"] = header_values(headers)
    document["body"] = read.body
    if read.soap is not None:
        document["soap"] = read.soap.plain()
    return document


def header_values(headers: Headers) -> dict[str, str]:
    """Header fields by lower-case name."""
    return field_texts(joined_fields(headers))


def path_parameters(paths: Sequence[str], path: bytes) -> dict[str, str]:
    """The parameters of the first of some path patterns that a path fits, decoded; none where it fits none."""
    raw = normal(path).split(b"/")[1:]
    for text in paths:
        pattern = _pattern(text)
        length = len(pattern.segments)
        if len(raw) < length or (len(raw) > length and not pattern.prefix):
            continue
        pairs = list(zip(pattern.segments, raw[:length], strict=True))
        if all(theirs == mine or (theirs is None and mine) for theirs, mine in pairs):
            found = [as_text(mine) for theirs, mine in pairs if theirs is None]
            return dict(zip(pattern.names, found, strict=True))
    return {}


@lru_cache(maxsize=4096)
def _pattern(text: str) -> PathPattern:
    return parse_path(text)
