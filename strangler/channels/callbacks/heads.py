"""The header fields of a callback: Standard Webhooks, CloudEvents 1.0 in binary mode, W3C Trace Context."""

from __future__ import annotations

import re
from urllib.parse import quote

from strangler.channels.callbacks.signing import signatures
from strangler.domain import instant
from strangler.policy.receivers import Receiver
from strangler.ports import Message

Head = dict[str, str]

AGENT = "strangler"
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_ALL_PLAIN = re.compile(r"[!#$&-~]*")
_UNFIT = re.compile("[^ -~]")


def message_head(receiver: Receiver, message: Message) -> Head:
    """All fields but those that HTTP itself needs."""
    timestamp = message.attempt_at // 1000
    head = {
        "Content-Type": "application/json",
        "User-Agent": AGENT,
        # What comes back is shown to people as it is; nothing is to be unpacked.
        "Accept-Encoding": "identity",
        "webhook-id": message.webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signatures(receiver, message.webhook_id, timestamp, message.body),
        "ce-specversion": "1.0",
        "ce-id": _attribute(message.webhook_id),
        "ce-source": _attribute(message.source),
        "ce-type": _attribute(message.type),
        "ce-subject": _attribute(message.subject),
        "ce-time": instant.to_text(message.occurred_at),
    }
    for name, value in (
        ("X-Correlation-ID", message.correlation_id),
        ("traceparent", message.traceparent),
        ("tracestate", message.tracestate),
    ):
        if value is not None:
            head[name] = _one_line(value)
    return head


def consent_head(origin: str) -> Head:
    """The fields that ask a receiver for its consent (CloudEvents HTTP 1.1 Web Hooks 1.0, section 4.1)."""
    return {"User-Agent": AGENT, "Accept-Encoding": "identity", "WebHook-Request-Origin": origin}


def _attribute(value: str) -> str:
    """An attribute as a field's value (CloudEvents HTTP protocol binding 1.0.2, section 3.1.3.2)."""
    if _ALL_PLAIN.fullmatch(value):
        return value
    return quote(value.encode("utf-8", "replace"), safe=_PLAIN)


def _one_line(value: str) -> str:
    """A value that came from a client, as far as it may stand in a header field."""
    return _UNFIT.sub("?", value)
