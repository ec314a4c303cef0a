"""The head of a request: parsed once, strictly, and everything ambiguous refused (RFC 9112 sections 2, 3 and 6)."""

from __future__ import annotations

import re

from strangler.wire.fields import FORWARDING, HOP_BY_HOP, TOKEN, Fields, list_items, parse_fields
from strangler.wire.malformed import Malformed, bad

# The target may hold raw octets over 0x7F: old clients send them and old servers take them. A fragment has no place.
_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb"++) ([\x21\x22\x24-\x7e\x80-\xff]++) HTTP/([0-9]\.[0-9])")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]++)(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*)(.*)", re.DOTALL)
_LENGTH = re.compile(rb"[0-9]{1,18}")

_NOTED = HOP_BY_HOP | FORWARDING | {b"host", b"content-length", b"expect", b"authorization"}
_METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
_ALLOWED = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


class RequestHead:
    """What a request's head says. ``lines`` are its field lines as they came, without CRLF, ``headers`` the same
    parsed; ``noted`` holds the index and lower-case name of those that a proxy has to look at."""

    __slots__ = (
        "chunked",
        "connection",
        "content_length",
        "expects_continue",
        "headers",
        "host",
        "keep_alive",
        "lines",
        "method",
        "negotiates",
        "noted",
        "old",
        "target",
        "te",
        "upgrade",
        "via",
    )

    def __init__(self, method: str, target: bytes, fields: Fields, *, old: bool) -> None:
        self.method = method
        self.target = target  # origin form, or "*"
        self.lines, self.headers, self.noted = fields
        self.old = old  # HTTP/1.0
        self.host: bytes | None = None
        self.connection: bytes | None = None  # all Connection lines joined
        self.content_length: int | None = None
        self.chunked = False
        self.expects_continue = False
        self.keep_alive = not old
        self.negotiates = False  # Authorization is one of those that belong to the connection (RFC 4559)
        self.te: bytes | None = None
        self.upgrade: bytes | None = None
        self.via: bytes | None = None

    @property
    def has_body(self) -> bool:
        """Whether the request carries a body of more than no bytes, as far as the head tells."""
        return self.chunked or bool(self.content_length)


def parse_request_head(line: bytes, block: bytes) -> RequestHead:
    """Parse a request line (without CRLF) and the block of field lines (each with CRLF).

    Raises:
        Malformed: it is refused; the code says with which status.
    """
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise bad("The request line is not well formed.")
    method, target, version = match.groups()
    if version not in (b"1.1", b"1.0"):
        raise Malformed("version-not-supported", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    fields = parse_fields(block, _NOTED)
    name = _METHODS.get(method) or method.decode("ascii")
    head = RequestHead(name, target, fields, old=version == b"1.0")
    _note(head)
    _settle_connection(head)
    _settle_target(head)
    return head


def _note(head: RequestHead) -> None:
    codings: bytes | None = None
    for index, key in head.noted:
        value = head.headers[index][1]
        if key == b"host":
            if head.host is not None:
                raise bad("There is more than one Host.")
            head.host = value
        elif key == b"content-length":
            if head.content_length is not None or not _LENGTH.fullmatch(value):
                raise bad("Content-Length is not one number.")
            head.content_length = int(value)
        elif key == b"transfer-encoding":
            codings = _joined(codings, value)
        elif key == b"connection":
            head.connection = _joined(head.connection, value)
        else:
            _note_rare(head, key, value)
    if codings is not None:
        _settle_codings(head, codings)


def _note_rare(head: RequestHead, key: bytes, value: bytes) -> None:
    if key == b"expect":
        if head.old:
            return  # RFC 9110 section 10.1.1: ignored in HTTP/1.0
        if value.lower() != b"100-continue":
            raise Malformed("expectation-failed", "The only expectation that can be met is 100-continue.")
        head.expects_continue = True
    elif key == b"via":
        head.via = _joined(head.via, value)
    elif key == b"upgrade":
        head.upgrade = _joined(head.upgrade, value)
    elif key == b"te":
        head.te = _joined(head.te, value)
    elif key == b"authorization":
        head.negotiates = head.negotiates or value[:9].lower() == b"negotiate" or value[:4].lower() == b"ntlm"


def _joined(before: bytes | None, value: bytes) -> bytes:
    return value if before is None else before + b", " + value


def _settle_codings(head: RequestHead, codings: bytes) -> None:
    if head.content_length is not None:
        raise bad("Content-Length and Transfer-Encoding exclude each other.")
    if head.old:
        raise bad("HTTP/1.0 has no Transfer-Encoding.")
    names = list_items(codings)
    if any(name != b"chunked" for name in names):
        raise Malformed("not-implemented", "The only transfer coding spoken here is chunked.")
    if len(names) != 1 or b"," in codings:
        raise bad("Transfer-Encoding is not chunked, once.")
    head.chunked = True


def _settle_connection(head: RequestHead) -> None:
    if head.connection is None:
        head.upgrade = None
        return
    options = list_items(head.connection)
    if b"close" in options:
        head.keep_alive = False
    elif head.old:
        head.keep_alive = b"keep-alive" in options
    if b"upgrade" not in options or head.old:
        head.upgrade = None


def _settle_target(head: RequestHead) -> None:
    method, target, host = head.method, head.target, head.host
    if host is None:
        if not head.old:
            raise bad("Host is missing.")
    elif not _HOST.fullmatch(host):
        raise bad("Host is not well formed.")
    if method == "CONNECT":
        raise Malformed("not-implemented", "CONNECT is not served.")
    if method == "TRACE":
        raise Malformed("method-not-allowed", "TRACE is not served.")
    if target[0] == 0x2F:
        return
    if target == b"*" and method == "OPTIONS":
        return
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise bad("The request target is not well formed.")
    authority, rest = absolute.groups()
    # RFC 9112 section 3.2.2 lets the target win over Host; who sends two different ones wants them read differently.
    if not _HOST.fullmatch(authority) or (host is not None and host.lower() != authority.lower()):
        raise bad("The request target names another host than Host does.")
    if not rest and method == "OPTIONS":
        rest = b"*"
    head.target = rest if rest[:1] in (b"/", b"*") else b"/" + rest


def allowed_methods() -> bytes:
    """What ``Allow`` says of a method that is served nowhere."""
    return _ALLOWED
