"""Signatures, held against the specification's vectors and the library that receivers use."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from strangler.channels.callbacks.signing import Signer
from strangler.config.load import load_policy
from strangler.policy.receivers import Receiver, SigningKey
from tests.channels.callbacks.scene import a_receiver

ROOT = Path(__file__).resolve().parents[3]
UPSTREAM = "upstreams: {legacy: {url: 'http://127.0.0.1:9'}}\ndefault: {upstream: legacy}\n"
ID, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'


def test_the_vector_of_the_specification() -> None:
    key = SigningKey(base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    found = Signer(a_receiver(secrets=(key,))).signatures(ID, AT, BODY)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_known_vector_of_an_asymmetric_signature() -> None:
    whole = base64.b64decode("6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==")
    found = Signer(a_receiver(secrets=(SigningKey(whole[:32]),), signature="v1a")).signatures(ID, AT, BODY)
    assert found == "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="


def test_in_a_rotation_receivers_with_the_old_and_with_the_new_secret_both_verify() -> None:
    new, old, foreign = bytes(range(24)), bytes(range(24, 56)), bytes(24)
    now = int(time.time())
    found = Signer(a_receiver(secrets=(SigningKey(new), SigningKey(old)))).signatures(ID, now, BODY)
    headers = {"webhook-id": ID, "webhook-timestamp": str(now), "webhook-signature": found}
    assert len(found.split(" ")) == 2
    for secret in (new, old):
        assert Webhook("whsec_" + base64.b64encode(secret).decode()).verify(BODY, headers) == {"test": 2432232314}
    with pytest.raises(WebhookVerificationError):
        Webhook(foreign).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(BODY + b" ", headers)


def test_an_asymmetric_signature_is_verified_by_the_public_key_over_these_very_bytes() -> None:
    old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    secrets = tuple(SigningKey(key.private_bytes_raw()) for key in (new, old))
    found = Signer(a_receiver(secrets=secrets, signature="v1a")).signatures(ID, AT, BODY)
    content = f"{ID}.{AT}.".encode() + BODY
    for key, text in zip((new, old), found.split(" "), strict=True):
        kind, _, signed = text.partition(",")
        assert kind == "v1a"
        key.public_key().verify(base64.b64decode(signed), content)
        with pytest.raises(InvalidSignature):
            key.public_key().verify(base64.b64decode(signed), content + b" ")


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")


def shell_of(page: str, mark: str) -> str:
    """The block of shell in a document that has a mark in it."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    (found,) = [block for block in blocks if mark in block]
    return str(found)


def ran(script: str, directory: Path, **variables: str) -> str:
    """What a script prints."""
    environment = {"PATH": os.environ["PATH"], **variables}
    done = subprocess.run(["sh", "-euc", script], env=environment, cwd=directory, check=True, capture_output=True)
    return done.stdout.decode()


def loaded(directory: Path, signature: str) -> Receiver:
    """A receiver of a policy whose secret is in a file of that directory."""
    policy = directory / "policy.yaml"
    secrets = f"secrets: ['${{file:{directory}/hooks.secret}}'], signature: {signature}"
    policy.write_text(f"receivers: {{hooks: {{url: 'https://hooks.example/', {secrets}}}}}\n{UPSTREAM}")
    return load_policy([policy], {}).table.receivers["hooks"]


@needs_openssl
def test_by_hand_it_is_verified_as_the_contract_says_with_a_secret_made_as_operators_are_told(tmp_path: Path) -> None:
    body = '{"name": "Ünal", "last": "no line"}'.encode()
    (tmp_path / "body").write_bytes(body)
    ran(shell_of("operations.md", "openssl rand"), tmp_path)
    signed = Signer(loaded(tmp_path, "v1")).signatures(ID, AT, body)
    secret = (tmp_path / "hooks.secret").read_text().strip()
    by_hand = shell_of("http.md", "openssl dgst")
    assert "v1," + ran(by_hand, tmp_path, id=ID, timestamp=str(AT), secret=secret) == signed


@needs_openssl
def test_a_pair_of_keys_made_as_operators_are_told_signs_and_verifies(tmp_path: Path) -> None:
    public = ran(shell_of("operations.md", "genpkey"), tmp_path).strip()
    kind, _, signed = Signer(loaded(tmp_path, "v1a")).signatures(ID, AT, BODY).partition(",")
    verifier = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    assert kind == "v1a"
    verifier.verify(base64.b64decode(signed), f"{ID}.{AT}.".encode() + BODY)
