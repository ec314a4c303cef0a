"""The request head as it goes upstream: the client's lines, without what is for one connection only."""

from __future__ import annotations

from typing import NamedTuple

from strangler.domain.exchange import Header, Peer
from strangler.policy.forwarding import alias, forwarding_fields, owned
from strangler.policy.upstreams import Upstream
from strangler.wire.fields import HOP_BY_HOP, cut, list_items, nominated, without
from strangler.wire.request_head import RequestFields

_USUAL = frozenset({b"keep-alive", b"close", b"upgrade", b"te"})


class UpstreamFields(NamedTuple):
    """What goes upstream after the request line."""

    data: bytes  # with the CRLF before it and the empty line behind it
    upgrade: frozenset[bytes]  # the protocols that it asks for, lower case


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
    """The fields with which a request goes upstream. ``expect``: the client's expectation goes along."""
    ours = owned(upstream.forward)
    asked = upgrades(fields, upstream)
    earlier: dict[bytes, bytes] = {}
    block, dropped = fields.block, []
    for line, key, value in fields.noted:
        if key in ours:
            earlier[key] = earlier[key] + b", " + value if key in earlier else value
            dropped.append(line)
        elif key in HOP_BY_HOP:
            if key != b"transfer-encoding":  # it was checked to be chunked, and chunked it stays
                dropped.append(line)
        elif key == b"host":
            if upstream.host_header == "upstream":
                block = block.replace(line + b"\r\n", b"\r\nHost: %b\r\n" % upstream.authority.encode(), 1)
        elif (key == b"expect" and (fields.old or not expect)) or alias(key) in ours:
            dropped.append(line)
    if dropped:
        block = cut(block, dropped)
    if fields.connection is not None and not _USUAL.issuperset(fields.options):
        block = without(block, nominated(fields.connection))
    more = forwarding_fields(earlier, fields.host or b"", peer, upstream.forward, trusted=trusted)
    if fields.host is None:
        more.insert(0, (b"Host", upstream.authority.encode()))
    more += _connection_fields(fields, asked)
    return UpstreamFields(b"".join((block, *[b"%b: %b\r\n" % field for field in more], b"\r\n")), asked)


def _connection_fields(fields: RequestFields, asked: frozenset[bytes]) -> list[Header]:
    if asked:
        return [(b"Connection", b"Upgrade"), (b"Upgrade", b", ".join(sorted(asked)))]
    # Trailers are carried, so a client that takes them may say so (RFC 9110 section 10.1.4).
    if fields.te is not None and b"trailers" in list_items(fields.te):
        return [(b"Connection", b"TE"), (b"TE", b"trailers")]
    return []
