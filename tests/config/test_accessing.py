"""`access.jwt` and `access.authorize` as they are written, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from strangler.config import promise
from strangler.policy.model import AccessPolicy, AuthorizePolicy, JwtPolicy
from tests.config.scene import advice, errors, load, load_route, one_route, write
from tests.engine.admitting import document
from tests.engine.tokens import Signer

KEYS = "https://id.example/keys"
BASE = "public_url: 'https://a.example'\n"


def test_with_jwt_a_caller_is_known_by_the_subject_of_its_token(tmp_path: Path) -> None:
    access = load_route(tmp_path, f"access: {{jwt: {{jwks: '{KEYS}'}}}}").access
    assert access == AccessPolicy(identity=("jwt:sub", "header:X-Api-Key"), jwt=JwtPolicy(jwks=KEYS))


def test_without_anything_a_caller_is_known_as_ever(tmp_path: Path) -> None:
    assert load_route(tmp_path).access.identity == ("header:Authorization", "header:X-Api-Key")


def test_one_audience_is_a_list_of_one(tmp_path: Path) -> None:
    access = load_route(tmp_path, f"access: {{jwt: {{jwks: '{KEYS}', audience: claims}}}}").access
    assert access.jwt is not None
    assert access.jwt.audience == ("claims",)


def test_authorize_asks_by_get_and_remembers_for_half_a_minute(tmp_path: Path) -> None:
    access = load_route(tmp_path, "access: {authorize: {path: /session}}").access
    assert access.authorize == AuthorizePolicy(path="/session", method="GET", cache=30.0)


def test_keys_in_a_file_are_read_with_the_policy_and_watched_like_it(tmp_path: Path) -> None:
    keys = document(Signer("a").published())
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/id.json").write_bytes(keys)
    text = one_route("access: {jwt: {jwks: keys/id.json}}")
    first = load(tmp_path, text)
    jwt = first.table.routes["claims"].access.jwt
    assert jwt is not None
    assert (jwt.jwks, jwt.document) == (str(tmp_path / "keys/id.json"), keys)
    assert str(tmp_path / "keys/id.json") in first.stamps

    (tmp_path / "keys/id.json").write_bytes(document(Signer("b").published()))
    second = load(tmp_path, text)
    assert second.table.revision != first.table.revision
    # What is promised with a process does not change with the keys.
    assert second.promises == first.promises


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        ("", "it is no JSON"),
        ('{"keys": []}', "it holds no public key"),
        ("x" * (256 * 1024 + 1), "is longer than 262144 bytes"),
    ],
)
def test_a_file_without_keys_does_not_load(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        write(tmp_path, text, "keys.json")
    (found,) = errors(tmp_path, one_route("access: {jwt: {jwks: keys.json}}"))
    assert "routes[0].access.jwt.jwks" in found
    assert said in found


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("access: {identity: ['jwt:sub']}", "access.identity[0]: expected access.jwt"),
        ("access: {name: 'jwt:sub'}", "access.name: expected access.jwt"),
        ("access: {identity: ['tls:subject', 'basic:user']}", "access.identity[1]: expected access.authorize"),
        (f"access: {{identity: ['basic:user'], jwt: {{jwks: '{KEYS}'}}}}", "expected access.authorize"),
        ("access: {jwt: {}}", "access.jwt.jwks: this key is required"),
        ("access: {jwt: {jwks: 'ftp://id.example/keys'}}", "expected an http or https URL"),
        ("access: {jwt: {jwks: 'https://u:p@id.example/keys'}}", "expected an http or https URL"),
        ("access: {jwt: {jwks: 'https:///keys'}}", "expected an http or https URL"),
        ("access: {jwt: {jwks: 'https://id.example:99999/'}}", "expected an http or https URL"),
        ("access: {jwt: {jwks: 'https://id.example/a b'}}", "expected an http or https URL"),
        (f"access: {{jwt: {{jwks: '{KEYS}', audience: []}}}}", "expected a text, or a list of texts"),
        ("access: {authorize: {}}", "access.authorize.path: this key is required"),
        ("access: {authorize: {path: session}}", "it begins with /"),
        ("access: {authorize: {path: '/a b'}}", "percent-encoded"),
        ("access: {authorize: {path: '/{body.id}'}}", "it can begin with"),
        ("access: {authorize: {path: '/{path.id'}}", "is not closed"),
        ("access: {authorize: {path: /a, method: get}}", "a method in capitals"),
        ("access: {authorize: {path: /a, cache: 30}}", "a duration"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, keys: str, said: str) -> None:
    (found,) = errors(tmp_path, one_route(keys))
    assert said in found


TOKENS = f"jwt: {{jwks: '{KEYS}', audience: claims}}"


@pytest.mark.parametrize(
    ("access", "said"),
    [
        (TOKENS, None),
        ("identity: ['header:X-Api-Key'], authorize: {path: /s}", None),
        ("read: anyone, authorize: {path: /s}", None),
        ("authorize: {path: /s}", "note: routes[0].access.identity: who may read must still bear the very token"),
        (f"identity: ['header:Authorization'], {TOKENS}", "warning: routes[0].access.identity: a refreshed token is"),
        (f"identity: ['header:Authorization', 'jwt:sub'], {TOKENS}", "a refreshed token is another caller"),
        (f"identity: ['jwt:sub', 'header:Authorization'], {TOKENS}", None),
        (f"jwt: {{jwks: '{KEYS}'}}", "warning: routes[0].access.jwt: without audience"),
        ("jwt: {jwks: 'http://id.example/', audience: a}", "warning: routes[0].access.jwt.jwks: whoever is on the way"),
        ("jwt: {jwks: 'http://127.0.0.1:8000/', audience: a}", None),
        ("identity: ['header:X-Api-Key'], read: caller", "warning: routes[0].access.read: what is submitted without"),
    ],
)
def test_what_is_unwise_is_told(tmp_path: Path, access: str, said: str | None) -> None:
    found = advice(tmp_path, one_route(f"{BASE}access: {{{access}}}"))
    assert len(found) == (said is not None), found
    assert said is None or said in found[0]


@pytest.mark.parametrize("required", ["[X-Api-Key]", "[authorization]"])
def test_who_must_say_who_it_is_can_read_what_it_submits(tmp_path: Path, required: str) -> None:
    keys = f"{BASE}accept: {{require_headers: {required}}}\naccess: {{read: caller, {TOKENS}}}"
    assert advice(tmp_path, one_route(keys)) == []
    (found,) = advice(tmp_path, one_route(keys.replace("{require", "{enforce: report, require")))
    assert "what is submitted without an identity" in found


def test_what_passes_through_is_not_judged(tmp_path: Path) -> None:
    (found,) = advice(tmp_path, one_route("access: {authorize: {path: /s}}", mode="passthrough"))
    assert "routes[0].access: has no effect" in found


def test_who_comes_in_is_promised_and_its_keys_are_not(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(document(Signer("a").published()))
    text = one_route("access: {jwt: {jwks: keys.json, issuer: i, audience: [a, b]}, authorize: {path: '/{path.id}'}}")
    loaded = load(tmp_path, text)
    access = loaded.table.routes["claims"].access
    digest = loaded.table.routes["claims"].promise.digest
    kept = promise.read(digest, loaded.promises[digest])
    assert kept.access == access
    assert kept.access.jwt is not None
    assert kept.access.jwt.document is None
