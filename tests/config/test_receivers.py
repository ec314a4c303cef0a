"""Receivers and callbacks as a policy says them."""

from __future__ import annotations

import base64
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from strangler.config.load import load_policy
from strangler.config.located import PolicyErrors
from strangler.domain.process import PublicState
from strangler.domain.retry import Backoff
from strangler.policy.callback_url import AllowedOrigin
from strangler.policy.model import Rate
from strangler.policy.receivers import Receiver, SigningKey
from strangler.policy.upstreams import Tls
from tests.config.scene import (
    UPSTREAM,
    advice,
    errors,
    load,
    load_route,
    one_route,
    stamps,
    without_folder,
    write,
    write_certificates,
)

SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(64))).decode()
PUBLIC = "public_url: 'https://a.example'\n"
QUIET = "access: {identity: ['header:X-Api-Key']}\n" + PUBLIC
BROKER = f'{UPSTREAM}receivers:\n  broker: {{url: "https://hooks.example/claims", secrets: ["{SECRET}"]}}\n'


def receiver(folder: Path, keys: str) -> Receiver:
    """The one receiver of a policy."""
    text = f"{UPSTREAM}receivers:\n  r: {{{keys}}}\ndefault: {{upstream: legacy}}\n"
    return load(folder, text).table.receivers["r"]


def wrong(folder: Path, keys: str) -> list[str]:
    """What is wrong with a receiver."""
    return errors(folder, f"{UPSTREAM}receivers:\n  r: {{{keys}}}\ndefault: {{upstream: legacy}}\n")


def test_a_receiver_has_these_defaults(tmp_path: Path) -> None:
    found = receiver(tmp_path, f'url: "https://hooks.example", secrets: ["{SECRET}"]')
    assert found == Receiver(
        name="r",
        url="https://hooks.example/",
        allow=(),
        secrets=(SigningKey(bytes(range(24))),),
        signature="v1",
        tls=Tls(),
        networks=(),
        verify="none",
        states=frozenset(PublicState(word) for word in ("completed", "rejected", "failed", "expired", "cancelled")),
        payload="status",
        callers=(),
        concurrency=8,
        timeout=15.0,
        attempts=12,
        backoff=Backoff(initial=5.0, factor=5.0, max=57600.0, jitter="equal"),
    )


def test_every_key_of_a_receiver_arrives(tmp_path: Path) -> None:
    write_certificates(tmp_path)
    found = receiver(
        tmp_path,
        f'allow: ["https://*.Partner.example:8443", "https://hooks.example"], secrets: ["{SECRET}", "{OTHER}"], '
        'tls: {ca: ca.pem}, networks: [10.1.0.0/16, "fd12::/32"], verify: handshake, states: [unconfirmed, failed], '
        'payload: result, callers: ["partner-*"], concurrency: 2, rate: 5000/h, timeout: 3s, attempts: 4, '
        "backoff: {initial: 1s, factor: 2, max: 1m, jitter: none}",
    )
    assert found == Receiver(
        name="r",
        allow=(AllowedOrigin("https", "*.partner.example", 8443), AllowedOrigin("https", "hooks.example", 443)),
        secrets=(SigningKey(bytes(range(24))), SigningKey(bytes(range(64)))),
        tls=Tls(ca=str(tmp_path / "ca.pem"), seen=stamps(tmp_path, "ca")),
        networks=(ip_network("10.1.0.0/16"), ip_network("fd12::/32")),
        verify="handshake",
        states=frozenset({PublicState.UNCONFIRMED, PublicState.FAILED}),
        payload="result",
        callers=("partner-*",),
        concurrency=2,
        rate=Rate(5000, 3600.0),
        timeout=3.0,
        attempts=4,
        backoff=Backoff(initial=1.0, factor=2.0, max=60.0, jitter="none"),
    )


def test_a_secret_is_base64_with_the_prefix_or_without(tmp_path: Path) -> None:
    found = receiver(tmp_path, f'url: "https://a.example", secrets: ["{SECRET}", "{SECRET.removeprefix("whsec_")}"]')
    assert found.secrets == (SigningKey(bytes(range(24))),) * 2


def test_a_private_key_signs_by_v1a_as_its_seed_or_with_the_public_key_behind(tmp_path: Path) -> None:
    private = Ed25519PrivateKey.generate()
    seed = private.private_bytes_raw()
    whole = seed + private.public_key().public_bytes_raw()
    for octets in (seed, whole):
        text = "whsk_" + base64.b64encode(octets).decode()
        found = receiver(tmp_path, f'url: "https://a.example", signature: v1a, secrets: ["{text}"]')
        assert found.secrets == (SigningKey(seed),)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('secrets: ["SECRET"]', "3:6: receivers.r: expected either `url` or `allow`"),
        ('url: "https://a.example", allow: ["https://b.example"], secrets: ["SECRET"]', "either `url` or `allow`"),
        ('url: "https://a.example"', "3:3: receivers.r.secrets: this key is required"),
        ('url: "https://a.example", secrets: []', "receivers.r.secrets: expected a list that is not empty"),
        (
            'url: "http://a.example", secrets: ["SECRET"]',
            "3:12: receivers.r.url: cannot be called back: expected https",
        ),
        ('url: "http://a.example", networks: [], secrets: ["SECRET"]', "expected https"),
        ('url: "http://192.168.0.1", networks: [10.0.0.0/8], secrets: ["SECRET"]', "192.168.0.1 is a private address"),
        (
            'url: "http://9.9.9.9", networks: [10.0.0.0/8], secrets: ["SECRET"]',
            "9.9.9.9 is outside of `networks`, and plain",
        ),
        ('url: "ftp://a.example", secrets: ["SECRET"]', "expected a URL that begins with https://"),
        ('url: "https://u:p@a.example", secrets: ["SECRET"]', "receivers.r.url: cannot be called back: it holds cred"),
        ('url: "https://a.example/#x", secrets: ["SECRET"]', "it holds a fragment"),
        ('url: "https://a.example:0/", secrets: ["SECRET"]', "its port is not one"),
        ('url: "https://10.0.0.1", secrets: ["SECRET"]', "10.0.0.1 is a private address; `networks` can name"),
        ('url: "https://[fe80::1]", secrets: ["SECRET"]', "fe80::1 is a link-local address"),
        (
            'url: "https://169.254.169.254", networks: [0.0.0.0/0], secrets: ["SECRET"]',
            "169.254.169.254 is where a cloud",
        ),
        ('url: "https://0x7f.1", secrets: ["SECRET"]', "in another form than four decimal numbers"),
        ('allow: [], secrets: ["SECRET"]', "receivers.r.allow: expected a list that is not empty"),
        ('allow: ["a.example"], secrets: ["SECRET"]', "receivers.r.allow[0]: expected an origin such as https://hooks"),
        ('allow: ["https://a.example/x"], secrets: ["SECRET"]', "without path and query"),
        ('allow: ["https://a*.example"], secrets: ["SECRET"]', "receivers.r.allow[0]: expected an origin"),
        ('allow: ["https://*.10.0.0.1"], secrets: ["SECRET"]', "an address has no subdomains"),
        ('allow: ["http://*.example"], secrets: ["SECRET"]', "plain http is taken only into `networks`"),
        ('allow: ["https://a.example", "https://127.0.0.1"], secrets: ["SECRET"]', "r.allow[1]: expected an origin"),
        ('url: "https://a.example", networks: [10.0.0.1/8], secrets: ["SECRET"]', "networks[0]: expected a network"),
        (
            'url: "https://a.example", networks: [inside], secrets: ["SECRET"]',
            "networks[0]: expected a network such as",
        ),
        ('url: "https://a.example", states: [done], secrets: ["SECRET"]', "states[0]: expected received or processing"),
        ('url: "https://a.example", payload: all, secrets: ["SECRET"]', "expected status or result"),
        ('url: "https://a.example", verify: yes, secrets: ["SECRET"]', "expected none or handshake"),
        ('url: "https://a.example", timeout: 0s, secrets: ["SECRET"]', "expected a duration"),
        (
            'url: "https://a.example", attempts: 0, secrets: ["SECRET"]',
            "expected a whole number from 1 to 1000, found 0",
        ),
        ('url: "https://a.example", backof: {}, secrets: ["SECRET"]', "unknown key; did you mean backoff?"),
        ('url: "https://a.example", tls: {cert: no.pem}, secrets: ["SECRET"]', "no.pem cannot be read"),
        ('url: "https://a.example", tls: {key: ca.pem}, secrets: ["SECRET"]', "a private key needs its certificate"),
    ],
)
def test_a_wrong_receiver_is_told_in_its_place(tmp_path: Path, keys: str, said: str) -> None:
    (tmp_path / "ca.pem").write_text("")
    found = wrong(tmp_path, keys.replace("SECRET", SECRET))
    assert [said in line for line in found] == [True], found


SEED = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("secret", "signature", "said"),
    [
        ("whsec_c2hvcnQ=", "v1", "expected base64 of 24 to 64 random bytes; this is of 5"),
        (
            "whsec_" + base64.b64encode(bytes(65)).decode(),
            "v1",
            "expected base64 of 24 to 64 random bytes; this is of 65",
        ),
        ("correct horse battery staple", "v1", "expected base64, with its padding, behind the prefix"),
        ("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "v1", "expected base64, with its padding"),
        ("whsk_" + SEED, "v1", "expected a secret for v1, whsec_…; this one is for `signature: v1a`"),
        (SECRET, "v1a", "expected an ed25519 private key for v1a, whsk_ and base64"),
        ("whpk_" + SEED, "v1a", "expected an ed25519 private key for v1a"),
        ("whsk_AAAA", "v1a", "expected base64 of the 32 bytes of an ed25519 private key"),
        ("whsk_" + base64.b64encode(bytes(64)).decode(), "v1a", "the public key in it is not the one of the private"),
        ("12345678", "v1", "expected base64 of 24 to 64"),
    ],
)
def test_a_wrong_secret_is_told_but_never_shown(tmp_path: Path, secret: str, signature: str, said: str) -> None:
    found = wrong(tmp_path, f'url: "https://a.example", signature: {signature}, secrets: ["{SECRET}", "{secret}"]')
    about = [line for line in found if "receivers.r.secrets[1]" in line]
    assert len(about) == 1
    assert said in about[0]
    assert secret not in "\n".join(found)
    assert SECRET not in "\n".join(found)


def test_what_stands_in_place_of_a_secret_is_not_shown_either(tmp_path: Path) -> None:
    (found,) = wrong(tmp_path, 'url: "https://a.example", secrets: [1234567890123]')
    assert found.endswith(
        "receivers.r.secrets[0]: expected a secret: ${file:PATH} or ${secret-env:NAME}, or whsec_ and base64, "
        "found a secret"
    )


def test_a_secret_that_stands_alone_in_place_of_a_list_is_not_shown(tmp_path: Path) -> None:
    (found,) = wrong(tmp_path, f'url: "https://a.example", secrets: "{SECRET}"')
    assert found.endswith("receivers.r.secrets: expected a list that is not empty, found a secret")


def test_secrets_do_not_show_themselves(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    found = receiver(tmp_path, 'url: "https://a.example", secrets: ["${file:secret}"]')
    assert found.secrets == (SigningKey(bytes(range(24))),)
    assert "SigningKey(…)" in repr(found)
    assert SECRET.removeprefix("whsec_")[:8] not in repr(found)
    assert "x00" not in repr(found)


def test_offline_a_secret_that_is_not_here_is_a_note(tmp_path: Path) -> None:
    text = BROKER.replace(SECRET, "${file:nowhere}") + "default: {upstream: legacy}\n"
    loaded = load(tmp_path, text, offline=True)
    assert any("nowhere cannot be read" in str(finding) for finding in loaded.findings)
    (found,) = errors(tmp_path, text)
    assert "nowhere cannot be read" in found


def test_receivers_are_unique_over_all_files(tmp_path: Path) -> None:
    one = write(tmp_path, BROKER + "default: {upstream: legacy}\n", "a.yaml")
    other = write(tmp_path, BROKER.removeprefix(UPSTREAM), "b.yaml")
    with pytest.raises(PolicyErrors) as raised:
        load_policy([one, other], {})
    (found,) = without_folder(tmp_path, str(raised.value))
    assert found == "b.yaml:2:3: receivers.broker: there is a receiver broker already, at a.yaml:3:3"


def test_a_new_secret_in_the_file_itself_makes_a_new_revision(tmp_path: Path) -> None:
    text = BROKER + "default: {upstream: legacy}\n"
    revisions = {load(tmp_path, each).table.revision for each in (text, text, text.replace(SECRET, OTHER))}
    assert len(revisions) == 2


def test_callbacks_of_a_route(tmp_path: Path) -> None:
    keys = PUBLIC + "callbacks: {receivers: [broker, broker], header: X-Callback-Url, body: body.callbackUrl}"
    callbacks = load_route(tmp_path, keys, upstream=BROKER).callbacks
    assert callbacks is not None
    assert (callbacks.receivers, callbacks.header) == (("broker",), "x-callback-url")
    assert callbacks.body is not None
    assert callbacks.body.evaluate({"body": {"callbackUrl": "https://x.example"}}) == "https://x.example"


def test_without_the_key_or_with_no_receivers_nobody_is_called_back(tmp_path: Path) -> None:
    assert load_route(tmp_path, upstream=BROKER).callbacks is None
    assert load_route(tmp_path, "callbacks: {receivers: []}", upstream=BROKER).callbacks is None


def test_callbacks_merge_with_those_of_route_defaults(tmp_path: Path) -> None:
    text = one_route(PUBLIC + "callbacks: {header: X-Callback}", upstream=BROKER)
    loaded = load(tmp_path, text + "route_defaults:\n  callbacks: {receivers: [broker], header: X-Other}\n")
    callbacks = loaded.table.routes["claims"].callbacks
    assert callbacks is not None
    assert (callbacks.receivers, callbacks.header) == (("broker",), "x-callback")


def test_receivers_and_callbacks_are_no_part_of_a_promise(tmp_path: Path) -> None:
    with_them = load_route(tmp_path, PUBLIC + "callbacks: {receivers: [broker]}", upstream=BROKER)
    without = load_route(tmp_path, PUBLIC, upstream=BROKER)
    assert with_them.promise.digest == without.promise.digest


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            PUBLIC + "callbacks: {receivers: [brokr]}",
            "10:29: routes[0].callbacks.receivers[0]: there is no receiver brokr; did you mean broker?",
        ),
        (PUBLIC + "callbacks: {header: X-A}", "10:5: routes[0].callbacks.receivers: this key is required"),
        ("callbacks: {receivers: [broker]}", "9:16: routes[0].callbacks: expected public_url, here or as --public-url"),
        (PUBLIC + "callbacks: {receivers: [broker], header: A B}", "callbacks.header: expected the name of a header"),
        (
            PUBLIC + "callbacks: {receivers: [broker], body: 'a.'}",
            "callbacks.body: expected an expression (JMESPath) ov",
        ),
        (PUBLIC + "callbacks: {receivers: [broker], body: callbackUrl}", "begins with callbackUrl; it can begin with"),
        (PUBLIC + "callbacks: {receivers: [broker], body: {a: body}}", "a mapping or list is no URL"),
        (PUBLIC + "callbacks: {receivers: broker}", "callbacks.receivers: expected a list, found"),
    ],
)
def test_wrong_callbacks_are_told_in_their_place(tmp_path: Path, keys: str, said: str) -> None:
    found = errors(tmp_path, one_route(keys, upstream=BROKER))
    assert [said in line for line in found] == [True], found


def test_a_receiver_that_is_wrong_is_told_of_once(tmp_path: Path) -> None:
    text = one_route(PUBLIC + "callbacks: {receivers: [broker]}", upstream=BROKER.replace("https", "http"))
    (found,) = errors(tmp_path, text)
    assert "receivers.broker.url" in found


def test_a_public_url_of_the_command_line_or_the_environment_is_enough(tmp_path: Path) -> None:
    path = write(tmp_path, one_route("callbacks: {receivers: [broker]}", upstream=BROKER))
    assert load_policy([path], {}, public_url=True).table.routes["claims"].callbacks is not None
    environ = {"STRANGLER_PUBLIC_URL": "https://a.example"}
    assert load_policy([path], environ).table.routes["claims"].callbacks is not None


ALLOWING = f'{UPSTREAM}receivers:\n  p: {{allow: ["https://*.p.example"], secrets: ["${{env:S}}"]}}\n'


@pytest.mark.parametrize(
    ("receivers", "keys", "said"),
    [
        (
            'r: {url: "https://a.example", secrets: ["${env:S}"]}',
            "",
            "3:6: warning: receivers.r: no route uses the rec",
        ),
        (
            'r: {url: "https://a.example", secrets: ["${env:S}"], networks: [127.0.0.1/32]}',
            "callbacks: {receivers: [r]}",
            "3:67: warning: receivers.r.networks[0]: opens loopback",
        ),
        (
            'r: {url: "https://a.example", secrets: ["${env:S}"], networks: ["10.0.0.0/8", "::/0"]}',
            "callbacks: {receivers: [r]}",
            "warning: receivers.r.networks[1]: opens loopback",
        ),
        (
            'r: {url: "http://10.0.0.1", secrets: ["${env:S}"], networks: [10.0.0.0/8]}',
            "callbacks: {receivers: [r]}",
            "warning: receivers.r.url: plain http",
        ),
        (
            'r: {allow: ["https://a.example", "http://b.example"], secrets: ["${env:S}"], networks: [10.0.0.0/8]}',
            "callbacks: {receivers: [r], header: X-A}",
            "warning: receivers.r.allow[1]: plain http",
        ),
        (
            'r: {allow: ["https://*"], secrets: ["${env:S}"]}',
            "callbacks: {receivers: [r], header: X-A}",
            "warning: receivers.r.allow[0]: any public host can be named by callers",
        ),
        (
            'r: {url: "https://a.example", secrets: ["${env:S}"], tls: {verify: false}}',
            "callbacks: {receivers: [r]}",
            "warning: receivers.r.tls.verify: whoever answers is taken for the receiver",
        ),
        (
            'r: {url: "https://a.example", secrets: ["SECRET"]}',
            "callbacks: {receivers: [r]}",
            "warning: receivers.r.secrets: one stands in the policy itself, which therefore is not kept",
        ),
        (
            'r: {allow: ["https://a.example"], secrets: ["${env:S}"]}',
            "callbacks: {receivers: [r]}",
            "routes[0].callbacks.receivers[0]: r is never called: without `header` or `body`",
        ),
        (
            'r: {url: "https://a.example", secrets: ["${env:S}"]}',
            "callbacks: {receivers: [r], body: body.url}",
            "routes[0].callbacks.body: whoever names a URL is refused",
        ),
        (
            'r: {url: "https://a.example", secrets: ["${env:S}"], callers: [a]}',
            "callbacks: {receivers: [r]}",
            "routes[0].callbacks.receivers[0]: r is never called: no caller has a name",
        ),
    ],
)
def test_what_is_unwise_is_a_warning_in_its_place(tmp_path: Path, receivers: str, keys: str, said: str) -> None:
    upstream = f"{UPSTREAM}receivers:\n  {receivers.replace('SECRET', SECRET)}\n"
    found = advice(tmp_path, one_route(QUIET + keys, upstream=upstream), {"S": SECRET})
    assert [said in line for line in found] == [True], found


def test_callbacks_of_what_passes_through_have_no_effect(tmp_path: Path) -> None:
    keys = PUBLIC + "callbacks: {receivers: [p]}"
    (found,) = advice(tmp_path, one_route(keys, mode="passthrough", upstream=ALLOWING), {"S": SECRET})
    assert "warning: routes[0].callbacks: has no effect" in found


def test_a_sound_receiver_with_one_secret_of_its_own_gets_no_advice(tmp_path: Path) -> None:
    keys = QUIET + "callbacks: {receivers: [p], header: X-Callback-Url}"
    assert advice(tmp_path, one_route(keys, upstream=ALLOWING), {"S": SECRET}) == []


def test_a_policy_with_a_secret_in_its_own_text_says_so(tmp_path: Path) -> None:
    keys = PUBLIC + "callbacks: {receivers: [p], header: X-A}"
    assert not load(tmp_path, one_route(keys, upstream=ALLOWING), {"S": SECRET}).holds_secrets
    assert load(tmp_path, one_route(PUBLIC, upstream=BROKER)).holds_secrets
