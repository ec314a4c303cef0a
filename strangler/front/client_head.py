"""The reply head as it goes to the client: the upstream's lines, without what is for one connection only."""

from __future__ import annotations

from strangler.domain.exchange import Headers
from strangler.wire.fields import HOP_BY_HOP, list_items, nominated
from strangler.wire.reply_head import ReplyHead
from strangler.wire.request_head import RequestHead

CLOSE = b"Connection: close"
KEEP_ALIVE = b"Connection: keep-alive"


def client_head(reply: ReplyHead, request: RequestHead, *, keep: bool, add: Headers = ()) -> bytes:
    """The head with which a final reply goes to the client. ``keep``: the connection stays open afterwards."""
    lines = _lines(reply, chunked=reply.chunked and not request.old)
    lines += [b"%b: %b" % header for header in add]
    if not keep:
        lines.append(CLOSE)
    elif request.old:
        lines.append(KEEP_ALIVE)
    return _join(reply, lines)


def interim_head(reply: ReplyHead) -> bytes:
    """A 1xx reply."""
    return _join(reply, _lines(reply, chunked=False))


def upgrade_head(reply: ReplyHead) -> bytes:
    """The 101 with which a tunnel begins."""
    lines = _lines(reply, chunked=False)
    lines += [b"Connection: Upgrade", b"Upgrade: " + (reply.upgrade or b"")]
    return _join(reply, lines)


def _lines(reply: ReplyHead, *, chunked: bool) -> list[bytes]:
    lines = reply.lines
    if not reply.noted:
        return lines
    dropped = {
        index for index, key in reply.noted if key in HOP_BY_HOP and not (chunked and key == b"transfer-encoding")
    }
    if reply.connection is not None and reply.connection.lower() not in (b"keep-alive", b"close"):
        names = nominated(reply.connection)
        if names:
            dropped |= {index for index, (name, _) in enumerate(reply.headers) if name.lower() in names}
    if reply.status == 204 or reply.status < 200:
        # RFC 9112 section 6.1 and RFC 9110 section 8.6: neither has a length, and one that is not 0 would mislead.
        dropped |= {index for index, key in reply.noted if key in (b"transfer-encoding", b"content-length")}
    if not dropped:
        return lines
    return [line for index, line in enumerate(lines) if index not in dropped]


def _join(reply: ReplyHead, lines: list[bytes]) -> bytes:
    start = b"HTTP/1.1 %d %b" % (reply.status, reply.reason)
    return b"\r\n".join((start, *lines, b"", b""))


def switches_to(reply: ReplyHead, asked: frozenset[bytes]) -> bool:
    """Whether a 101 is the one that was asked for."""
    if reply.upgrade is None or reply.connection is None or b"upgrade" not in list_items(reply.connection):
        return False
    return asked.issuperset(list_items(reply.upgrade))
