"""Bytes to text and JSON, in one way only or not at all."""

from __future__ import annotations

import codecs
import json
import re
import string
import zlib
from typing import Any

import orjson

from strangler.policy.charset import codec_of
from strangler.policy.measure import Measure, most

MAX_DOCUMENT = 16 * 1024 * 1024
"""Bytes of a body that an expression may look into; a longer one is not read."""


class Unparsable(ValueError):
    """A body that cannot be read in one way only."""


_CODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Content codings that are undone (RFC 9110 section 8.4.1), and what zlib calls their formats."""


def is_packed(coding: str | None) -> bool:
    """Whether a ``Content-Encoding`` says that a body is not what its media type says."""
    return coding is not None and coding.strip().lower() not in ("", "identity")


def unpacked(data: bytes, coding: str | None) -> bytes:
    """A body without its content coding.

    Raises:
        Unparsable: it is in none of gzip and deflate, is broken, or is longer than `MAX_DOCUMENT` when it is undone.
    """
    if coding is None or not is_packed(coding):
        return data
    name = coding.strip().lower()
    if name not in _CODINGS:
        raise Unparsable(f"it is encoded with {name[:40]}; gzip and deflate are read")
    parts, size = [], 0
    try:
        while data:  # gzip may have several members (RFC 1952 section 2.2)
            packed = zlib.decompressobj(_CODINGS[name])
            part = packed.decompress(data, MAX_DOCUMENT + 1 - size)
            size += len(part)
            if size > MAX_DOCUMENT:
                raise Unparsable(f"it has more than {MAX_DOCUMENT} bytes once its {name} is undone")
            if not packed.eof:
                raise Unparsable(f"its {name} ends in the middle")
            parts.append(part)
            data = packed.unused_data
    except zlib.error:
        raise Unparsable(f"it is no {name}") from None
    return b"".join(parts)


def parse_json(data: bytes | str) -> Any:
    """The value of a JSON text (RFC 8259); bytes are UTF-8.

    Raises:
        Unparsable: it is none, it is not UTF-8, or an object has a name twice.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
    except UnicodeDecodeError as error:
        raise Unparsable(f"it is not UTF-8 at byte {error.start}") from None
    return read_json(text)[0]


def standard_json(text: str) -> Any:
    """What `parse_json` finds, by the standard library alone: slower, it takes whatever is JSON, and what it refuses it
    refuses in our words.

    Raises:
        Unparsable: as `parse_json`.
    """
    if text.startswith("\ufeff"):
        raise Unparsable("it begins with a byte order mark, which is no part of JSON")
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError:
        raise Unparsable("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Unparsable(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except Unparsable:
        raise
    except ValueError:
        raise Unparsable("a number in it has thousands of digits") from None


_READ_TWICE = 1024 * 1024  # characters of a text up to which it may be; of a longer one there is never a second value
_ODD_NUMBER = re.compile(rb"e(?<=[0-9]e)[-+]?[0-9]+(?:[],}]|\Z)")  # written with an exponent; jumps from e to e
_ALIKE = bytes.maketrans(b"23456789[", b"11111111{")
_LETTERS = string.ascii_letters.replace("e", "").encode()


def read_json(text: str) -> tuple[Any, Measure | None]:
    """The value of a JSON text, and what it holds at most, where its text alone says enough of that.

    Raises:
        Unparsable: as `parse_json`.
    """
    # orjson takes the last of two members of one name, and an integer of more than 64 bits for a fraction. So what it
    # read is written again: a member that was dropped lacks its colon there, and no string has one more unless it was
    # escaped; a fraction that has become of an integer has an exponent.
    if len(text) <= _READ_TWICE and ("\\" not in text or "\\u003" not in text):
        try:
            value = orjson.loads(text)
            written = orjson.dumps(value)
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            return standard_json(text), None
        marks = written.translate(_ALIKE, _LETTERS)  # half as long, and all that is looked for is still in it
        if text.count(":") == marks.count(b":") and not _has_odd_numbers(written, marks):
            return value, most(len(written), marks.count(b"{"))
    return standard_json(text), None


def _has_odd_numbers(written: bytes, marks: bytes) -> bool:
    """Whether a fraction is not `Measure.plain`, by how orjson writes it: no digit before an exponent is a zero."""
    if b"0.0000" not in marks and b"1e" not in marks:
        return False
    return b"0.0000" in written or _ODD_NUMBER.search(written) is not None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Unparsable(f"the name {twice[:100]!r} stands twice in one object")
    return result


def _no_constant(name: str) -> Any:
    raise Unparsable(f"{name} is no JSON value")


def whole_text(text: str) -> str:
    """A text that can be written down: JSON can spell half of a surrogate pair (RFC 8259 section 8.2), UTF-8 cannot."""
    return _HALVES.sub("\N{REPLACEMENT CHARACTER}", text)


_HALVES = re.compile("[\ud800-\udfff]")
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_MARKS = tuple(mark for mark, _ in _BYTE_ORDER_MARKS)
_XML_DECLARATION = re.compile(rb"^\s*<\?xml[^>]{0,200}?\sencoding\s*=\s*[\"']([A-Za-z][A-Za-z0-9._-]{0,40})[\"']")


def media_type(content_type: str | None) -> str:
    """The media type of a ``Content-Type``, in small letters and without parameters; empty where there is none."""
    return (content_type or "").partition(";")[0].strip().lower()


def decoded(data: bytes, said: str | None, charset: str | None, *, xml: bool) -> str:
    """The text of a body.

    A byte order mark says what it is in (RFC 7303 section 3.2), else ``charset``, which is what the policy knows, else
    ``said``, which is what the ``Content-Type`` says, else an XML declaration, else it is UTF-8. What does not fit what
    it is said to be in is refused: a guess would change names and sums of money.

    Raises:
        Unparsable: it is not in that charset, or nobody knows the charset.
    """
    name, text = _named(data, said, charset, xml=xml)
    codec = known_codec(name)
    try:
        return text.decode(codec)
    except UnicodeDecodeError as error:
        raise Unparsable(f"it is not {name} at byte {error.start}") from None
    except UnicodeError:  # some codecs say no more
        raise Unparsable(f"it is not {name}") from None


def known_codec(charset: str) -> str:
    """Python's codec for a charset.

    Raises:
        Unparsable: nobody knows the charset.
    """
    codec = codec_of(charset)
    if codec is None:
        raise Unparsable(f"its charset {charset[:40]!r} is not known")
    return codec


def _named(data: bytes, said: str | None, charset: str | None, *, xml: bool) -> tuple[str, bytes]:
    if data.startswith(_MARKS):
        return next((name, data[len(mark) :]) for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark))
    if charset is not None:
        return charset, data
    if said is not None:
        return said, data
    declared = _XML_DECLARATION.match(data) if xml else None
    return (declared[1].decode("ascii") if declared is not None else "utf-8"), data
