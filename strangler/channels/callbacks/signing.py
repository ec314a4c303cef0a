"""Signatures of Standard Webhooks 1.0.0, over the exact bytes that are sent."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from strangler.policy.receivers import Receiver, Signature, SigningKey


class Signer:
    """Signs what one receiver is told; its keys are made ready once."""

    def __init__(self, receiver: Receiver) -> None:
        self._kind = receiver.signature
        self._keys = [_signing(receiver.signature, key) for key in receiver.secrets]

    def signatures(self, webhook_id: str, timestamp: int, body: bytes) -> str:
        """The value of ``webhook-signature``: one signature for each secret, with spaces between them.

        ``timestamp`` is in seconds, of this attempt: a receiver refuses old ones, so each attempt is signed anew.
        """
        content = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
        return " ".join([f"{self._kind},{b64encode(sign(content)).decode('ascii')}" for sign in self._keys])


def _signing(kind: Signature, key: SigningKey) -> Callable[[bytes], bytes]:
    """What signs with a key."""
    if kind == "v1a":
        return Ed25519PrivateKey.from_private_bytes(key.octets).sign
    ready = hmac.new(key.octets, digestmod="sha256")

    def sign(content: bytes) -> bytes:
        # Not `hmac.digest`, which takes the key anew each time, and gives up the interpreter's lock.
        code = ready.copy()
        code.update(content)
        return code.digest()

    return sign
