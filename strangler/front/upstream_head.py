"""The request head as it goes upstream: the client's lines, without what is for one connection only."""

from __future__ import annotations

from typing import NamedTuple

from strangler.domain.exchange import Header, Peer
from strangler.policy.forwarding import alias, forwarding_fields, owned, upstream_target
from strangler.policy.model import Upstream
from strangler.ports import Passthrough
from strangler.wire.fields import HOP_BY_HOP, list_items, nominated
from strangler.wire.request_head import RequestHead

_USUAL = frozenset({b"keep-alive", b"close", b"upgrade", b"te"})


class UpstreamHead(NamedTuple):
    """A head ready to be sent."""

    data: bytes
    upgrade: frozenset[bytes]  # the protocols that it asks for, lower case


def upgrades(head: RequestHead, upstream: Upstream) -> frozenset[bytes]:
    """The protocols that the request may be upgraded to. Never h2c: it would carry requests past every rule. Never
    with a body: a server that declines could take its bytes for the next request."""
    if head.upgrade is None or head.has_body:
        return frozenset()
    allowed = frozenset(token.lower().encode() for token in upstream.upgrade) - {b"h2c"}
    return allowed.intersection(list_items(head.upgrade))


def upstream_head(
    head: RequestHead, way: Passthrough, peer: Peer, *, trusted: bool, expect: bool = True
) -> UpstreamHead:
    """The head with which a request goes upstream. ``expect``: the client's expectation goes along."""
    upstream = way.upstream
    ours = owned(upstream.forward)
    asked = upgrades(head, upstream)
    lines = head.lines.copy()
    earlier: dict[bytes, bytes] = {}
    dropped: list[int] = []
    for index, key in head.noted:
        value = head.headers[index][1]
        if key in ours:
            earlier[key] = earlier[key] + b", " + value if key in earlier else value
            dropped.append(index)
        elif key in HOP_BY_HOP:
            if key != b"transfer-encoding":  # it was checked to be chunked, and chunked it stays
                dropped.append(index)
        elif key == b"host":
            if upstream.host_header == "upstream":
                lines[index] = b"Host: " + upstream.authority.encode()
        elif key == b"expect":
            if not expect or head.old:
                dropped.append(index)
        elif b"_" in key and alias(key) in ours:
            dropped.append(index)
    if head.connection is not None and not _USUAL.issuperset(list_items(head.connection)):
        names = nominated(head.connection)
        dropped += [index for index, (name, _) in enumerate(head.headers) if name.lower() in names]
    for index in sorted(set(dropped), reverse=True):
        del lines[index]
    if head.host is None:
        lines.append(b"Host: " + upstream.authority.encode())
    lines += [
        b"%b: %b" % field
        for field in forwarding_fields(earlier, head.host or b"", peer, upstream.forward, trusted=trusted)
    ]
    lines += [b"%b: %b" % field for field in _connection_fields(head, asked)]
    target = upstream_target(head.target, way.rewrite, upstream)
    start = b"%b %b HTTP/1.1" % (head.method.encode("ascii"), target)
    return UpstreamHead(b"\r\n".join((start, *lines, b"", b"")), asked)


def _connection_fields(head: RequestHead, asked: frozenset[bytes]) -> list[Header]:
    if asked:
        return [(b"Connection", b"Upgrade"), (b"Upgrade", b", ".join(sorted(asked)))]
    # Trailers are carried, so a client that takes them may say so (RFC 9110 section 10.1.4).
    if head.te is not None and b"trailers" in list_items(head.te):
        return [(b"Connection", b"TE"), (b"TE", b"trailers")]
    return []
