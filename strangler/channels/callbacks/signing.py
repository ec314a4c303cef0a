"""Signatures of Standard Webhooks 1.0.0, over the exact bytes that are sent."""

from __future__ import annotations

import base64
import hmac

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from strangler.policy.receivers import Receiver, Signature, SigningKey


def signatures(receiver: Receiver, webhook_id: str, timestamp: int, body: bytes) -> str:
    """The value of ``webhook-signature``: one signature for each secret, with spaces between them.

    ``timestamp`` is in seconds, of this attempt: a receiver refuses old ones, so each attempt is signed anew.
    """
    content = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    return " ".join(_signature(receiver.signature, key, content) for key in receiver.secrets)


def _signature(kind: Signature, key: SigningKey, content: bytes) -> str:
    if kind == "v1a":
        signed = Ed25519PrivateKey.from_private_bytes(key.octets).sign(content)
    else:
        signed = hmac.digest(key.octets, content, "sha256")
    return f"{kind},{base64.b64encode(signed).decode('ascii')}"
