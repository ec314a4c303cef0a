"""A callback as bytes, with its header fields: Standard Webhooks, CloudEvents 1.0 in binary mode, W3C Trace Context."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote

from strangler.channels.callbacks.signing import Signer
from strangler.domain import instant
from strangler.policy.callback_url import CallbackUrl
from strangler.ports import Message

_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_ALL_PLAIN = re.compile(r"[!#$&-~]*")
_UNFIT = re.compile("[^ -~]")


def message_request(signer: Signer, url: CallbackUrl, message: Message) -> bytes:
    """A callback as it is sent."""
    timestamp = message.attempt_at // 1000
    name = _attribute(message.webhook_id)
    text = (
        f"{_begin('POST', url)}Content-Type: application/json\r\nContent-Length: {len(message.body)}\r\n"
        f"webhook-id: {name}\r\nwebhook-timestamp: {timestamp}\r\n"
        f"webhook-signature: {signer.signatures(name, timestamp, message.body)}\r\n"
        f"ce-specversion: 1.0\r\nce-id: {name}\r\nce-source: {_attribute(message.source)}\r\n"
        f"ce-type: {_attribute(message.type)}\r\nce-subject: {_attribute(message.subject)}\r\n"
        f"ce-time: {instant.to_text(message.occurred_at)}\r\nX-Correlation-ID: {_one_line(message.correlation_id)}\r\n"
    )
    if message.traceparent is not None:
        text += f"traceparent: {_one_line(message.traceparent)}\r\n"
    if message.tracestate is not None:
        text += f"tracestate: {_one_line(message.tracestate)}\r\n"
    return b"%b\r\n%b" % (text.encode("ascii"), message.body)


def consent_request(url: CallbackUrl, origin: str) -> bytes:
    """What asks a receiver for its consent (CloudEvents HTTP 1.1 Web Hooks 1.0, section 4.1)."""
    return f"{_begin('OPTIONS', url)}WebHook-Request-Origin: {origin}\r\n\r\n".encode("ascii")


@lru_cache(maxsize=1024)
def _begin(method: str, url: CallbackUrl) -> str:
    """The request line, and the fields that are the same for whatever is sent to a URL."""
    return (
        f"{method} {url.target} HTTP/1.1\r\nHost: {url.origin.partition('://')[2]}\r\nUser-Agent: strangler\r\n"
        # What comes back is shown to people as it is; nothing is to be unpacked.
        "Accept: */*\r\nAccept-Encoding: identity\r\n"
    )


def _attribute(value: str) -> str:
    """An attribute as a field's value (CloudEvents HTTP protocol binding 1.0.2, section 3.1.3.2)."""
    if _ALL_PLAIN.fullmatch(value):
        return value
    return quote(value.encode("utf-8", "replace"), safe=_PLAIN)


def _one_line(value: str) -> str:
    """A value that came from a client, as far as it may stand in a header field."""
    return value if value.isascii() and value.isprintable() else _UNFIT.sub("?", value)
