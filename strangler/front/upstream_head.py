"""The request head as it goes upstream: the client's lines, without what is for one connection only."""

from __future__ import annotations

from strangler.domain.exchange import Header, Peer
from strangler.policy.forwarding import forwarding_fields, owned, read_by_cgi
from strangler.policy.upstreams import Upstream
from strangler.wire.fields import HOP_BY_HOP, MAX_REMEMBERED, cut, list_items, nominated, without
from strangler.wire.request_head import FieldLines, RequestFields

_USUAL = frozenset({b"keep-alive", b"close", b"upgrade", b"te"})


class UpstreamFields:
    """How the fields of a request go upstream: the same for all requests of a connection whose fields say the same."""

    __slots__ = (
        "_data",
        "_dropped",
        "_host",
        "_lines",
        "_more",
        "_nominated",
        "_own_host",
        "fields",
        "upgrade",
        "upstream",
    )

    def __init__(
        self,
        fields: RequestFields,
        upstream: Upstream,
        *,
        upgrade: frozenset[bytes],
        host: bytes | None,
        dropped: list[bytes],
        nominated: frozenset[bytes],
        more: list[Header],
    ) -> None:
        self.fields = fields
        self.upstream = upstream
        self.upgrade = upgrade  # the protocols that it asks for, lower case
        self._host = host  # the line that gives way to the upstream's own, each with its line ends
        self._own_host = b"\r\nHost: %b\r\n" % upstream.authority.encode()
        self._dropped = dropped  # lines
        self._nominated = nominated  # names of lines that go beside these
        self._more = b"".join([b"%b: %b\r\n" % field for field in more])
        self._lines: FieldLines | None = None  # the last ones
        self._data = b""  # and as what they went

    def of(self, lines: FieldLines) -> bytes:
        """What goes upstream after the request line, with the CRLF before it and the empty line behind it."""
        if lines is self._lines:
            return self._data
        data = self._rewritten(lines.block)
        if len(lines.block) <= MAX_REMEMBERED:
            self._lines, self._data = lines, data
        return data

    def _rewritten(self, block: bytes) -> bytes:
        if self._host is not None:
            block = block.replace(self._host, self._own_host, 1)
        if self._dropped:
            block = cut(block, self._dropped)
        if self._nominated:
            block = without(block, self._nominated)
        return b"%b%b\r\n" % (block, self._more)


def upgrades(fields: RequestFields, upstream: Upstream) -> frozenset[bytes]:
    """The protocols that the request may be upgraded to. Never h2c: it would carry requests past every rule. Never
    with a body: a server that declines could take its bytes for the next request."""
    if fields.upgrade is None or fields.has_body:
        return frozenset()
    allowed = frozenset(token.lower().encode() for token in upstream.upgrade) - {b"h2c"}
    return allowed.intersection(list_items(fields.upgrade))


def upstream_fields(
    fields: RequestFields, upstream: Upstream, peer: Peer, *, trusted: bool, expect: bool = True
) -> UpstreamFields:
    """How the fields of a request go upstream. ``expect``: the client's expectation goes along."""
    ours = owned(upstream.forward)
    asked = upgrades(fields, upstream)
    earlier: dict[bytes, bytes] = {}
    host: bytes | None = None
    dropped: list[bytes] = []
    for line, key, value in fields.noted:
        if key in ours:
            earlier[key] = earlier[key] + b", " + value if key in earlier else value
            dropped.append(line)
        elif key in HOP_BY_HOP:
            if key != b"transfer-encoding":  # it was checked to be chunked, and chunked it stays
                dropped.append(line)
        elif key == b"host":
            if upstream.host_header == "upstream":
                host = line + b"\r\n"
        elif (key == b"expect" and (fields.old or not expect)) or read_by_cgi(key) in ours:
            dropped.append(line)
    names: frozenset[bytes] = frozenset()
    if fields.connection is not None and not _USUAL.issuperset(fields.options):
        names = nominated(fields.connection)
    host_said = fields.host or b""
    more = forwarding_fields(earlier, host_said, peer, upstream.forward, trusted=trusted, old=fields.old)
    if fields.host is None:
        more.insert(0, (b"Host", upstream.authority.encode()))
    more += _connection_fields(fields, asked)
    return UpstreamFields(fields, upstream, upgrade=asked, host=host, dropped=dropped, nominated=names, more=more)


def _connection_fields(fields: RequestFields, asked: frozenset[bytes]) -> list[Header]:
    if asked:
        return [(b"Connection", b"Upgrade"), (b"Upgrade", b", ".join(sorted(asked)))]
    # Trailers are carried, so a client that takes them may say so (RFC 9110 section 10.1.4).
    if fields.te is not None and b"trailers" in list_items(fields.te):
        return [(b"Connection", b"TE"), (b"TE", b"trailers")]
    return []
