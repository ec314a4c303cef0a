"""What a callback says: the envelope of Standard Webhooks 1.0.0 around the status document."""

from __future__ import annotations

import base64
import json
import re
from functools import lru_cache
from typing import Any

from strangler.domain import instant
from strangler.domain.exchange import RecordedReply, field_texts, joined_fields
from strangler.domain.process import PublicState

MAX_INLINE = 20 * 1024
"""Bytes of a reply's body, and of its header fields, that go along at most; beyond, there is its link."""

_NOT_TAKEN = re.compile(r"[^A-Za-z0-9_.]+")
_LEFT_OUT = frozenset(
    {
        *(b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"),  # of one connection
        *(b"proxy-authenticate", b"proxy-authentication-info", b"proxy-connection"),
        b"set-cookie",  # meant for the client of that call, at that time
    }
)


def callback_type(process_type: str, state: PublicState) -> str:
    """``ClaimSubmission.completed``; what the specification does not take in a type becomes ``_``."""
    return f"{_taken(process_type)}.{state}"


@lru_cache(maxsize=1024)
def _taken(process_type: str) -> str:
    return _NOT_TAKEN.sub("_", process_type)


def callback_body(kind: str, occurred_at: int, document: bytes, reply: RecordedReply | None = None) -> bytes:
    """The body of a callback, JSON: the same for the same arguments, byte for byte.

    ``kind`` is of `callback_type`, ``document`` the status document as JSON, which comes without the client's
    idempotency key: it is nobody else's business. ``reply`` goes along where its body is small enough.
    """
    inline = _inline(reply) if reply is not None else None
    if inline is not None:
        document = b'%b,"reply":%b}' % (document[:-1], _json(inline))
    # The document as it is, which spares a tenth of what a callback costs.
    return b'{"type":"%b","timestamp":"%b","data":%b}' % (
        kind.encode(),
        instant.to_text(occurred_at).encode(),
        document,
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def _inline(reply: RecordedReply) -> dict[str, Any] | None:
    data = reply.body.data
    if data is None or not reply.body.kept or len(data) > MAX_INLINE:
        return None
    if sum(len(name) + len(value) for name, value in reply.headers) > MAX_INLINE:
        return None
    told = {name: value for name, value in joined_fields(reply.headers).items() if name not in _LEFT_OUT}
    inline: dict[str, Any] = {"status": reply.status, "headers": field_texts(told)}
    # As text it is exact, which as JSON within JSON it would not be.
    try:
        inline["body"] = data.decode()
    except UnicodeDecodeError:
        inline["bodyBase64"] = base64.b64encode(data).decode("ascii")
    return inline
