"""The head of a request: parsed once, strictly, and everything ambiguous refused (RFC 9112 sections 2, 3 and 6)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from strangler.domain.exchange import Header
from strangler.wire.fields import FORWARDING, HOP_BY_HOP, TOKEN, Line, check_block, list_items, parse_block, search
from strangler.wire.malformed import Malformed, bad

# The target may hold raw octets over 0x7F: old clients send them and old servers take them. A fragment has no place.
_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb"++) ([\x21\x22\x24-\x7e\x80-\xff]++) HTTP/([0-9]\.[0-9])\r\n")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]++)(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"(https?)://([^/?]*)(.*)", re.DOTALL | re.IGNORECASE)
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}
_LENGTH = re.compile(rb"[0-9]{1,18}")

# CGI and WSGI take "_" for "-", so a forwarding field that is spelled so is looked at too.
_FORWARDING = frozenset(name.replace(b"-", b"[-_]") for name in FORWARDING)
_NOTED = search(HOP_BY_HOP | _FORWARDING | {b"host", b"content-length", b"expect", b"authorization"})
_METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}

ALLOWED = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
"""What ``Allow`` says of a method that is served nowhere."""


class FieldLines:
    """The field lines of a request as they came. ``block`` is a CRLF and those lines, each with its CRLF."""

    __slots__ = ("_headers", "block")

    def __init__(self, block: bytes) -> None:
        self.block = block
        self._headers: list[Header] | None = None

    def headers(self) -> list[Header]:
        """All fields as (name, value); parsed when they are first asked for."""
        if self._headers is None:
            self._headers = parse_block(self.block)
        return self._headers


def find_noted(block: bytes) -> list[Line]:
    """The lines that a proxy has to look at, in order: one pass, however many other lines there are.

    Raises:
        Malformed: the block is not sound.
    """
    check_block(block)
    return _NOTED.findall(block)


class RequestFields:
    """What the field lines of a request say to a proxy, by those that it has to look at: ``found`` are these as
    `find_noted` gives them, ``noted`` with names in lower case and values without white space around them.

    The same for all requests in which these lines are the same, whatever else they say.
    """

    __slots__ = (
        "chunked",
        "connection",
        "content_length",
        "expects_continue",
        "expects_more",
        "found",
        "has_body",
        "host",
        "keep_alive",
        "negotiates",
        "noted",
        "old",
        "options",
        "te",
        "upgrade",
        "via",
    )

    def __init__(self, found: list[Line], *, old: bool) -> None:
        """Read the lines of a request of HTTP/1.0 (``old``) or 1.1.

        Raises:
            Malformed: it is refused; the code says with which status.
        """
        self.found = found
        self.noted: list[Line] = [(line, name.lower(), value.rstrip(b" \t")) for line, name, value in found]
        self.old = old
        self.host: bytes | None = None
        self.connection: bytes | None = None  # all Connection lines joined
        self.content_length: int | None = None
        self.chunked = False
        self.expects_continue = False
        self.expects_more = False  # than we can meet
        self.has_body = False  # of more than no bytes, as far as the head tells
        self.keep_alive = not old
        self.negotiates = False  # Authorization is one of those that belong to the connection (RFC 4559)
        self.te: bytes | None = None
        self.upgrade: bytes | None = None
        self.via: bytes | None = None
        self._note()
        self._settle_connection()
        self._check_host()

    def _note(self) -> None:
        codings: bytes | None = None
        for _, key, value in self.noted:
            if key == b"host":
                if self.host is not None:
                    raise bad("There is more than one Host.")
                self.host = value
            elif key == b"content-length":
                if self.content_length is not None or not _LENGTH.fullmatch(value):
                    raise bad("Content-Length is not one number.")
                self.content_length = int(value)
            elif key == b"transfer-encoding":
                codings = _joined(codings, value)
            elif key == b"connection":
                self.connection = _joined(self.connection, value)
            else:
                self._note_rare(key, value)
        if codings is not None:
            self._settle_codings(codings)
        self.has_body = self.chunked or bool(self.content_length)

    def _note_rare(self, key: bytes, value: bytes) -> None:
        if key == b"expect":
            if self.old:
                return  # RFC 9110 section 10.1.1: ignored in HTTP/1.0
            if value.lower() == b"100-continue":
                self.expects_continue = True
            elif value:  # an empty list expects nothing
                self.expects_more = True
        elif key == b"via":
            self.via = _joined(self.via, value)
        elif key == b"upgrade":
            self.upgrade = _joined(self.upgrade, value)
        elif key == b"te":
            self.te = _joined(self.te, value)
        elif key == b"authorization":
            self.negotiates = self.negotiates or value[:9].lower() == b"negotiate" or value[:4].lower() == b"ntlm"

    def _settle_codings(self, codings: bytes) -> None:
        if self.content_length is not None:
            raise bad("Content-Length and Transfer-Encoding exclude each other.")
        if self.old:
            raise bad("HTTP/1.0 has no Transfer-Encoding.")
        names = list_items(codings)
        if not names or names[-1] != b"chunked":
            # RFC 9112 section 6.3: nobody can tell where such a body ends.
            raise bad("The last transfer coding is not chunked.")
        if any(name != b"chunked" for name in names):
            raise Malformed("not-implemented", "The only transfer coding spoken here is chunked.")
        if b"," in codings:
            raise bad("Transfer-Encoding is not chunked, once.")
        self.chunked = True

    def _check_host(self) -> None:
        if self.host is None:
            if not self.old:
                raise bad("Host is missing.")
        elif not _HOST.fullmatch(self.host):
            raise bad("Host is not well formed.")

    def _settle_connection(self) -> None:
        options = list_items(self.connection) if self.connection is not None else []
        self.options = options  # of the connection
        if b"close" in options:
            self.keep_alive = False
        elif self.old:
            self.keep_alive = b"keep-alive" in options
        if b"upgrade" not in options or self.old:
            self.upgrade = None


@dataclass(slots=True)
class RequestHead:
    """The head of a request."""

    method: str
    target: bytes  # origin form, or "*"
    fields: RequestFields
    lines: FieldLines


def parse_request_line(data: bytes, start: int) -> tuple[bytes, bytes, bool, int]:
    """The method, the target as it came, whether it is HTTP/1.0, and where the line ends, without its CRLF.

    Raises:
        Malformed: it is refused.
    """
    match = _REQUEST_LINE.match(data, start)
    if match is None:
        raise bad("The request line is not well formed.")
    method, target, version = match.groups()
    if version != b"1.1" and version != b"1.0":
        raise Malformed("version-not-supported", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    return method, target, version == b"1.0", match.end() - 2


def request_head(method: bytes, target: bytes, fields: RequestFields, lines: FieldLines) -> RequestHead:
    """Put line and fields together: the target reduced to its origin form.

    Raises:
        Malformed: the target, the method or an expectation is not served, or the target does not go with Host.
    """
    name = _METHODS.get(method) or _other_method(method)
    if target[0] != 0x2F and not (target == b"*" and name == "OPTIONS"):
        authority, target = _origin_form(name, target, fields.host)
        if fields.host is None:  # HTTP/1.0 may name it in the target alone, which we cannot pass on
            lines = FieldLines(b"%bHost: %b\r\n" % (lines.block, authority))
            fields = RequestFields(find_noted(lines.block), old=fields.old)
    if fields.expects_more:
        raise Malformed("expectation-failed", "The only expectation that can be met is 100-continue.")
    return RequestHead(name, target, fields, lines)


def _other_method(method: bytes) -> str:
    if method == b"CONNECT":
        raise Malformed("not-implemented", "CONNECT is not served.")
    if method == b"TRACE":
        raise Malformed("method-not-allowed", "TRACE is not served.")
    return method.decode("ascii")


def _origin_form(method: str, target: bytes, host: bytes | None) -> tuple[bytes, bytes]:
    """The authority of an absolute form, and the rest of it as an origin form."""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise bad("The request target is not well formed.")
    scheme, authority, rest = absolute.groups()
    # RFC 9112 section 3.2.2 lets the target win over Host; who sends two different ones wants them read differently.
    if not _HOST.fullmatch(authority) or (host is not None and _host(host, scheme) != _host(authority, scheme)):
        raise bad("The request target names another host than Host does.")
    if not rest and method == "OPTIONS":
        return authority, b"*"
    return authority, rest if rest.startswith(b"/") else b"/" + rest


def _host(authority: bytes, scheme: bytes) -> bytes:
    """An authority in the spelling in which two that are the same are equal (RFC 9110 section 4.2.3)."""
    return authority.lower().removesuffix(_DEFAULT_PORTS[scheme.lower()]).removesuffix(b":")


def _joined(before: bytes | None, value: bytes) -> bytes:
    return value if before is None else before + b", " + value
