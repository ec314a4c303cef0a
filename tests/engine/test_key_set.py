"""Signatures of tokens, and what must never pass for one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from strangler.engine.key_set import MAX_TOKEN, BadToken, UnknownKey, read_keys
from tests.engine.admitting import document
from tests.engine.tokens import ISSUER, Signer, forged

RSA = Signer("rsa", "RS256")
CLAIMS = {"iss": ISSUER, "sub": "alice", "exp": 4_000_000_000}


@pytest.mark.parametrize(
    ("signer", "algorithm"),
    [
        *((RSA, name) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        *((Signer("ec", name), name) for name in ("ES256", "ES384", "ES512")),
        (Signer("ed", "EdDSA"), "EdDSA"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tokens_of_all_usual_algorithms_are_read(signer: Signer, algorithm: str) -> None:
    keys = read_keys(document(signer.published()))
    assert keys.claims(signer.token(algorithm=algorithm))["sub"] == "alice"


def test_of_several_keys_the_one_that_the_token_names_is_taken() -> None:
    old, new = Signer("old"), Signer("new")
    keys = read_keys(document(old.published(), new.published()))
    assert keys.claims(old.token())
    assert keys.claims(new.token())
    with pytest.raises(UnknownKey):
        keys.claims(new.token(header={"kid": "old"}))


def test_a_token_that_names_no_key_is_tried_with_all() -> None:
    signer = Signer(None)
    assert read_keys(document(Signer("other").published(), signer.published())).claims(signer.token())


@pytest.mark.parametrize("kid", ["other", "../../dev/null", "' OR 1=1 --", "", "k" * 4000])
def test_a_key_id_is_looked_up_and_nothing_else(kid: str) -> None:
    with pytest.raises(UnknownKey):
        read_keys(document(RSA.published())).claims(RSA.token(header={"kid": kid}))


def test_a_token_without_a_signature_is_none() -> None:
    keys = read_keys(document(RSA.published()))
    for name in ("none", "None", "NONE", ""):
        with pytest.raises(BadToken, match="the algorithm"):
            keys.claims(forged({"alg": name, "kid": "rsa"}, CLAIMS))


def test_a_public_key_is_no_secret_to_sign_with() -> None:
    public = RSA.private.public_key()
    published = RSA.published()
    secrets = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(published).encode(),
        published["n"].encode(),
        b"",
    ]
    keys = read_keys(document(published))
    for secret in secrets:
        with pytest.raises(BadToken, match="the algorithm"):
            keys.claims(forged({"alg": "HS256", "kid": "rsa"}, CLAIMS, secret))


def test_a_published_secret_is_no_key() -> None:
    shared = {"kty": "oct", "k": "c2VjcmV0", "kid": "shared", "alg": "HS256"}
    keys = read_keys(document(shared, RSA.published()))
    assert [key.kid for key in keys.keys] == ["rsa"]
    with pytest.raises(BadToken):
        keys.claims(forged({"alg": "HS256", "kid": "shared"}, CLAIMS, b"secret"))


def test_a_key_that_a_token_brings_along_is_not_looked_at() -> None:
    mallory = Signer("rsa", "RS256")
    keys = read_keys(document(RSA.published()))
    for header in ({"jwk": mallory.published()}, {"jku": "http://mallory.example/"}, {"x5u": "file:///etc/passwd"}):
        with pytest.raises(UnknownKey):
            keys.claims(mallory.token(header=header))


def test_a_key_is_good_for_the_algorithm_that_it_names_only() -> None:
    keys = read_keys(document(RSA.published(alg="PS256")))
    assert keys.claims(RSA.token(algorithm="PS256"))
    with pytest.raises(UnknownKey):
        keys.claims(RSA.token(algorithm="RS256"))


@pytest.mark.parametrize("header", [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"b64": True}])
def test_what_a_token_calls_critical_is_not_understood(header: dict[str, Any]) -> None:
    token = forged({"alg": "RS256", "kid": "rsa", **header}, CLAIMS, b"x")
    with pytest.raises(BadToken, match=r"malformed|not understood"):
        read_keys(document(RSA.published())).claims(token)


def test_what_was_changed_after_it_was_signed_is_not_taken() -> None:
    keys = read_keys(document(RSA.published()))
    head, content, signature = RSA.token().split(b".")
    other = RSA.token(sub="mallory").split(b".")[1]
    for token in (b".".join((head, other, signature)), b".".join((head, content, signature[:-8] + b"AAAAAAAA"))):
        with pytest.raises(UnknownKey):
            keys.claims(token)


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"opaque",
        b"a.b",
        b"a.b.c.d",
        b"!.!.!",
        b"\xff.\xff.\xff",
        b"e30.e30.",
        forged([], CLAIMS),  # type: ignore[arg-type]
        forged({"alg": ["RS256"]}, CLAIMS),
        forged({"alg": "RS256", "kid": 7}, CLAIMS),
        b"a" * (MAX_TOKEN + 1),
    ],
)
def test_what_is_no_token_is_refused(token: bytes) -> None:
    with pytest.raises(BadToken):
        read_keys(document(RSA.published())).claims(token)


def test_what_is_said_twice_is_said_in_no_way() -> None:
    import jwt

    token = jwt.PyJWS().encode(b'{"sub": "alice", "sub": "mallory"}', RSA.private, "RS256", headers={"kid": "rsa"})
    with pytest.raises(BadToken, match="not readable"):
        read_keys(document(RSA.published())).claims(token.encode())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "no JSON"),
        (b"<html>", "no JSON"),
        (b"[]", "expected a set of keys"),
        (b'{"keys": {}}', "expected a set of keys"),
        (b'{"keys": []}', "no public key"),
        (document(*[{"kty": "oct"}] * 101), "101 keys"),
        (document({"kty": "RSA", "n": 1, "e": []}, {"kty": "EC", "crv": "P-256"}, {"kty": 1}), "no public key"),
        (document(RSA.published(use="enc")), "no public key"),
        (document(RSA.published(key_ops=["sign"])), "no public key"),
        (document(RSA.published(alg="HS256")), "no public key"),
        (document(Signer("weak", "RS256", bits=1024).published()), "no public key"),
        (document(Signer("ec").published(x="AA", y="AA")), "no public key"),
    ],
)
def test_what_holds_no_key_of_use_is_no_set_of_keys(text: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_keys(text)


def test_one_broken_member_does_not_spoil_the_others() -> None:
    members: list[Any] = [{"kty": "RSA"}, "text", RSA.published(), {"kty": "EC", "crv": "secp256k1", "x": "", "y": ""}]
    assert [key.kid for key in read_keys(document(*members)).keys] == ["rsa"]


def test_of_a_private_key_only_what_is_public_is_read() -> None:
    from jwt.algorithms import RSAAlgorithm

    private = {**RSAAlgorithm.to_jwk(RSA.private, as_dict=True), "kid": "rsa", "key_ops": ["verify"]}
    (key,) = read_keys(document(private)).keys
    assert not hasattr(key.public, "sign")
