"""A set of public keys (RFC 7517), and signatures of tokens checked with them (RFC 7515, RFC 8725).

A key is good for the algorithms of its own kind only, and nothing that a token says leads to a key but its ``kid``,
which is looked up in the set. So there is no ``none``, no HMAC with what is public, and no key that a token brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.exceptions import PyJWTError

from strangler.policy.readable import Unparsable, parse_json

MAX_TOKEN = 16 * 1024
"""Bytes of a token at most."""

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
    ("OKP", "Ed448"): frozenset({"EdDSA"}),
}
_PUBLIC = ("kty", "crv", "n", "e", "x", "y")
_LEAST_BITS = 2048  # of an RSA key (RFC 7518 section 3.3)
_MOST_KEYS = 100
_MOST_TRIED = 8  # of a token without kid

_TOKENS = jwt.PyJWS()


class BadToken(Exception):
    """A token that is not taken; the text says why, for its bearer."""


class UnknownKey(BadToken):
    """It is signed with a key that is not in the set, or not any more."""


class Key(NamedTuple):
    """One public key."""

    kid: str | None
    algorithms: frozenset[str]
    public: Any  # as the library has it


class KeySet(NamedTuple):
    """Keys, in the order of their document."""

    keys: tuple[Key, ...]

    def fitting(self, kid: str | None, algorithm: str) -> list[Key]:
        """The keys that a token may be signed with."""
        fitting = [key for key in self.keys if algorithm in key.algorithms and kid in (None, key.kid)]
        return fitting[:_MOST_TRIED]

    def claims(self, token: bytes) -> Mapping[str, Any]:
        """What a token says, when its signature is good. Whether that is enough is not looked at.

        Raises:
            BadToken: it is no token, or its signature is not good (`UnknownKey`: by these keys).
        """
        if len(token) > MAX_TOKEN:
            raise BadToken("the token is too long")
        try:
            header = _TOKENS.get_unverified_header(token)
        except PyJWTError:
            raise BadToken("the token is malformed") from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
            raise BadToken("the algorithm of the token is not taken")
        if "crit" in header or "b64" in header:
            raise BadToken("the token asks for what is not understood here")
        for key in self.fitting(kid, algorithm):
            try:
                content = _TOKENS.decode(
                    token, key.public, algorithms=[algorithm], options={"enforce_minimum_key_length": True}
                )
            except PyJWTError:
                continue
            return _content(content)
        raise UnknownKey("the signature of the token is not that of a known key")


def read_keys(document: bytes) -> KeySet:
    """The keys of a document that verify signatures; others in it are passed over.

    Raises:
        ValueError: it is no set of keys, or none of them is of use; the text says so for people.
    """
    try:
        content = parse_json(document)
    except Unparsable as error:
        raise ValueError(f"it is no JSON: {error}") from None
    members = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(members, list):
        raise ValueError('expected a set of keys: {"keys": [...]}')
    if len(members) > _MOST_KEYS:
        raise ValueError(f"{len(members)} keys; at most {_MOST_KEYS} are taken")
    keys = tuple(key for member in members if (key := _key(member)) is not None)
    if not keys:
        raise ValueError("it holds no public key (RSA of 2048 bits or more, EC, Ed25519, Ed448) for signatures")
    return KeySet(keys)


_ALGORITHMS = _RSA.union(*_CURVES.values())


def _key(member: object) -> Key | None:
    """One key; None: it is of no use here."""
    if not isinstance(member, dict) or member.get("use", "sig") != "sig":
        return None
    operations = member.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    algorithms = _algorithms(member)
    kid = member.get("kid")
    if not algorithms or not isinstance(kid, str | None):
        return None
    # Nothing but what is public is read, should somebody have published more.
    public = {name: member[name] for name in _PUBLIC if name in member}
    try:
        key = jwt.PyJWK(public, algorithm=min(algorithms)).key
    except (PyJWTError, ValueError, TypeError):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size < _LEAST_BITS:
        return None
    return Key(kid, algorithms, key)


def _algorithms(member: Mapping[str, Any]) -> frozenset[str]:
    """The algorithms that a key is for."""
    kind, curve = member.get("kty"), member.get("crv")
    if not isinstance(kind, str) or not isinstance(curve, str | None):
        return frozenset()
    algorithms = _RSA if kind == "RSA" else _CURVES.get((kind, curve or ""), frozenset())
    named = member.get("alg")
    return algorithms if named is None else algorithms.intersection({named} if isinstance(named, str) else ())


def _content(data: bytes) -> Mapping[str, Any]:
    try:
        values = parse_json(data)
    except Unparsable:
        raise BadToken("what the token says is not readable") from None
    if not isinstance(values, dict):
        raise BadToken("what the token says is no object")
    return values
