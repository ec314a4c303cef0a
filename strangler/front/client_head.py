"""The reply head as it goes to the client: the upstream's lines, without what is for one connection only."""

from __future__ import annotations

from strangler.domain.exchange import Headers
from strangler.wire.fields import list_items, without
from strangler.wire.reply_head import ReplyHead

CLOSE = b"Connection: close"
KEEP_ALIVE = b"Connection: keep-alive"

_LISTS = frozenset({b"link"})


def client_head(reply: ReplyHead, *, old: bool, keep: bool, add: Headers = ()) -> bytes:
    """The head with which a final reply goes to the client. ``old``: it speaks HTTP/1.0, which knows no chunks;
    ``keep``: its connection stays open afterwards; ``add``: fields that stand in place of the upstream's, or beside
    them where they are lists."""
    block, tail = reply.end_to_end(chunked=not old), b""
    if add:
        block = without(block, frozenset(name.lower() for name, _ in add) - _LISTS)
        tail = b"".join([b"%b: %b\r\n" % header for header in add])
    if not keep:
        tail += CLOSE + b"\r\n"
    elif old:
        tail += KEEP_ALIVE + b"\r\n"
    return b"HTTP/1.1 %d %b%b%b\r\n" % (reply.status, reply.reason, block, tail)


def interim_head(reply: ReplyHead) -> bytes:
    """A 1xx reply."""
    return b"HTTP/1.1 %d %b%b\r\n" % (reply.status, reply.reason, reply.end_to_end(chunked=False))


def upgrade_head(reply: ReplyHead) -> bytes:
    """The 101 with which a tunnel begins."""
    block = reply.end_to_end(chunked=False)
    tail = b"Connection: Upgrade\r\nUpgrade: %b" % (reply.upgrade or b"")
    return b"HTTP/1.1 %d %b%b%b\r\n\r\n" % (reply.status, reply.reason, block, tail)


def switches_to(reply: ReplyHead, asked: frozenset[bytes]) -> bool:
    """Whether a 101 is the one that was asked for."""
    if reply.upgrade is None or reply.connection is None or b"upgrade" not in list_items(reply.connection):
        return False
    return asked.issuperset(list_items(reply.upgrade))
