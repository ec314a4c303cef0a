"""Variables that look like settings and are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from strangler.config.settings import Settings
from strangler.runtime.policies import Policies
from tests.config.scene import UPSTREAM, load, write
from tests.engine.world import FakeClock, Silent
from tests.runtime.test_orders import SlowStore, Switch

POLICY = UPSTREAM + "default: {upstream: legacy}\n"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("STRANGLER_WORKER", "STRANGLER_WORKERS"),
        ("STRANGLER_DRAIN_TIME_OUT", "STRANGLER_DRAIN_TIMEOUT"),
        ("STRANGLER_PUBLICURL", "STRANGLER_PUBLIC_URL"),
        ("strangler_listen", "STRANGLER_LISTEN"),
    ],
)
def test_a_mistyped_setting_is_warned_of_with_the_one_that_was_perhaps_meant(
    name: str, meant: str, tmp_path: Path
) -> None:
    [finding] = load(tmp_path, POLICY, {name: "4"}).warnings
    assert str(finding) == f"environment: warning: {name} is no setting, and has no effect; did you mean {meant}?"


def test_nothing_is_said_of_settings_and_of_what_is_like_none(tmp_path: Path) -> None:
    environ = dict.fromkeys(("STRANGLER_WORKERS", "STRANGLER_OPS_TOKEN", "STRANGLER_STRICT", "WORKER"), "4")
    assert load(tmp_path, POLICY, {**environ, "STRANGLER_CLAIMS_BACKEND": "http://a.example"}).warnings == ()


@pytest.mark.parametrize("form", ["${env:STRANGLER_LISTENER:-8081}", "${secret-env:STRANGLER_LISTENER}"])
def test_a_variable_that_the_policy_names_is_the_operators_own(form: str, tmp_path: Path) -> None:
    policy = 'upstreams: {legacy: {url: "http://127.0.0.1:' + form + '"}}\ndefault: {upstream: legacy}\n'
    assert load(tmp_path, policy, {"STRANGLER_LISTENER": "8082"}).warnings == ()


def test_a_variable_that_a_setting_names_is_the_operators_own(tmp_path: Path) -> None:
    environ = {"STRANGLER_IDENTITY_KEY": "${secret-env:STRANGLER_IDENTITY}", "STRANGLER_IDENTITY": "k" * 32}
    assert load(tmp_path, POLICY, environ).warnings == ()


def test_what_kubernetes_tells_of_a_service_is_nobodys_mistake(tmp_path: Path) -> None:
    environ = {
        "STRANGLER_PORT": "tcp://10.0.0.1:80",
        "STRANGLER_PORT_80_TCP": "tcp://10.0.0.1:80",
        "STRANGLER_PORT_80_TCP_ADDR": "10.0.0.1",
        "STRANGLER_SERVICE_HOST": "10.0.0.1",
        "STRANGLER_SERVICE_PORT_OPS": "9901",
        "STRANGLER_OPS_PORT": "tcp://10.0.0.1:9901",
        "STRANGLER_OPS_SERVICE_HOST": "10.0.0.1",
    }
    assert load(tmp_path, POLICY, environ).warnings == ()
    assert load(tmp_path, POLICY, {"STRANGLER_OPS_PORT": "9901"}).warnings != ()


async def test_a_server_says_so_when_it_starts(tmp_path: Path) -> None:
    told, key = Silent(), "k" * 32
    environ = {"STRANGLER_WORKER": "4", "STRANGLER_TLS_KEYS": key}  # --identity-key '${secret-env:STRANGLER_TLS_KEYS}'
    policies = Policies(
        Settings(identity_key=key),
        [write(tmp_path, POLICY)],
        environ,
        SlowStore(),
        told,
        FakeClock(),
        lambda: None,
    )
    await policies.begin(policies.read(), Switch())
    text = "STRANGLER_WORKER is no setting, and has no effect; did you mean STRANGLER_WORKERS?"
    assert told.told[1:] == [("note", ("variable_unknown", "warning", text))]
