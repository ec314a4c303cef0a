"""Token issuers for tests: keys, what they publish, and the tokens that they sign."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.engine.world import NOON

ISSUER = "https://id.example/"
URL = "https://id.example/keys"


class Signer:
    """One key of an issuer."""

    def __init__(self, kid: str | None, algorithm: str = "ES256", *, bits: int = 2048) -> None:
        self.kid, self.algorithm = kid, algorithm
        self.private: Any
        if algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        elif algorithm.startswith("ES"):
            curves: dict[str, ec.EllipticCurve] = {
                "ES256": ec.SECP256R1(),
                "ES384": ec.SECP384R1(),
                "ES512": ec.SECP521R1(),
            }
            self.private = ec.generate_private_key(curves[algorithm])
        else:
            self.private = rsa.generate_private_key(65537, bits)

    def published(self, **members: Any) -> dict[str, Any]:
        """The public key as a member of a set; None takes a member out."""
        public = self.private.public_key()
        made: dict[str, Any]
        if self.algorithm == "EdDSA":
            made = OKPAlgorithm.to_jwk(public, as_dict=True)
        elif self.algorithm.startswith("ES"):
            made = ECAlgorithm.to_jwk(public, as_dict=True)
        else:
            made = RSAAlgorithm.to_jwk(public, as_dict=True)
        made.pop("key_ops", None)
        whole = {**made, "kid": self.kid, "use": "sig", **members}
        return {name: value for name, value in whole.items() if value is not None}

    def token(self, *, algorithm: str | None = None, header: dict[str, Any] | None = None, **claims: Any) -> bytes:
        """A token of the issuer for alice, good for a minute; None takes a claim out."""
        whole = {"iss": ISSUER, "sub": "alice", "exp": NOON // 1000 + 60, **claims}
        said = {name: value for name, value in whole.items() if value is not None}
        named = {"kid": self.kid} if self.kid is not None else {}
        return jwt.encode(said, self.private, algorithm or self.algorithm, headers={**named, **(header or {})}).encode()


def forged(header: dict[str, Any], claims: dict[str, Any], secret: bytes | None = None) -> bytes:
    """A token of whoever: signed with HMAC, or not at all."""
    text = _segment(json.dumps(header).encode()) + b"." + _segment(json.dumps(claims).encode())
    signature = hmac.new(secret, text, hashlib.sha256).digest() if secret is not None else b""
    return text + b"." + _segment(signature)


def _segment(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
