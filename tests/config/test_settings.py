from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path

import pytest

from strangler.config.settings import Address, Settings, SettingsError, add_arguments, read_settings
from strangler.config.urls import MAX_SOCKET_PATH


def read(*flags: str, **environ: str) -> Settings:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return read_settings(parser.parse_args(flags), environ)


def wrong(*flags: str, **environ: str) -> str:
    with pytest.raises(SettingsError) as raised:
        read(*flags, **environ)
    return str(raised.value)


def test_the_defaults() -> None:
    assert read() == Settings()
    assert Settings().listen == (Address("127.0.0.1", 8080),)
    assert str(Settings().ops) == "127.0.0.1:9901"
    assert (Settings().disk_reserve, Settings().max_head, Settings().drain_timeout) == (1024**3, 65536, None)


EVERY: Mapping[str, tuple[str, object]] = {
    "listen": ("unix:/run/s.sock", (Address("", 0, "/run/s.sock"),)),
    "ops": ("[::1]:0", Address("::1", 0)),
    "ops_host": ("Ops.example", ("ops.example",)),
    "store": ("memory:", "memory:"),
    "public_url": ("https://api.example/base/", "https://api.example/base"),
    "trust_forwarded": ("10.0.0.0/8", (ip_network("10.0.0.0/8"),)),
    "ops_tokens": (__file__, __file__),
    "workers": ("3", 3),
    "drain_timeout": ("90s", 90.0),
    "identity_key": ("0123456789abcdef", "0123456789abcdef"),
    "disk_reserve": ("0", 0),
    "memory_limit": ("2GiB", 2 * 1024**3),
    "on_bad_policy": ("last-good", "last-good"),
    "head_timeout": ("1s", 1.0),
    "body_idle_timeout": ("2s", 2.0),
    "keepalive": ("3s", 3.0),
    "max_head": ("8KiB", 8192),
    "max_clients": ("7", 7),
    "log_format": ("text", "text"),
    "log_level": ("debug", "debug"),
    "access_log": ("none", "none"),
    "lease": ("30s", 30.0),
    "reconcile_every": ("24h", 86400.0),
}


@pytest.mark.parametrize("name", EVERY)
def test_every_flag_is_also_a_variable_and_beats_it(name: str) -> None:
    text, value = EVERY[name]
    flag, variable = f"--{name.replace('_', '-')}", f"STRANGLER_{name.upper()}"
    assert getattr(read(flag, text), name) == value
    assert getattr(read(**{variable: text}), name) == value
    assert getattr(read(flag, text, **{variable: "nonsense"}), name) == value
    assert read(**{variable: ""}) == Settings()


def test_every_field_has_a_flag(tmp_path: Path) -> None:
    tls = {"tls_cert", "tls_key", "tls_client_ca"}
    assert {field.name for field in fields(Settings)} == EVERY.keys() | tls


def test_repeatable_flags_and_comma_lists() -> None:
    both = (Address("127.0.0.1", 1), Address("", 0, "/a,b"))
    assert read("--listen", "127.0.0.1:1", "--listen", "unix:/a,b").listen == both
    assert read(STRANGLER_LISTEN="127.0.0.1:1, [::]:2").listen == (Address("127.0.0.1", 1), Address("::", 2))
    networks = (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert read("--trust-forwarded", "10.0.0.0/8,::1").trust_forwarded == networks
    assert read(STRANGLER_TRUST_FORWARDED="10.0.0.0/8,::1").trust_forwarded == networks


@pytest.mark.parametrize(
    ("flag", "text", "said"),
    [
        ("listen", "8080", "--listen: expected HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080, or unix:/path"),
        ("listen", ":8080", "expected HOST:PORT"),
        ("listen", "::1:8080", "expected HOST:PORT"),
        ("listen", "a:70000", "expected HOST:PORT"),
        ("listen", "unix:run", "expected unix:/path, found 'unix:run'"),
        (
            "ops",
            "unix:/" + "s" * MAX_SOCKET_PATH,
            f"expected the path of a socket, which has at most {MAX_SOCKET_PATH}",
        ),
        ("ops-host", "a:b/c", "expected a host name"),
        ("public-url", "api.example", "expected an absolute URL such as"),
        ("public-url", "https://a..b", "expected an absolute URL such as"),
        ("public-url", "https://[::1", "expected an absolute URL such as"),
        ("public-url", "https://[:::]", "expected an absolute URL such as"),
        ("public-url", "https://a:", "expected an absolute URL such as"),
        ("public-url", "https://u:p@a", "without query and credentials"),
        ("public-url", "https://b\u00fccher.example", "in ASCII"),
        ("public-url", "https://a:x", "expected an absolute URL"),
        ("trust-forwarded", "10.0.0.1/8", "expected a network such as 10.0.0.0/8 or an address, found '10.0.0.1/8'"),
        ("workers", "0", "expected a whole number of at least 1, found '0'"),
        ("workers", "two", "expected a whole number of at least 1"),
        ("drain-timeout", "90", "expected a duration such as"),
        ("head-timeout", "0s", "expected a duration of more than 0"),
        ("disk-reserve", "1GB", "expected a size such as"),
        ("memory-limit", "1MiB", "expected at least 67108864 bytes"),
        ("max-head", "1B", "expected at least 1024 bytes, found 1B"),
        ("on-bad-policy", "ignore", "expected exit or last-good, found 'ignore'"),
        ("log-level", "loud", "expected debug or info or warning or error"),
        ("identity-key", "short", "expected at least 16 characters"),
        ("identity-key", "${secret-env:NOPE}", "the environment has no NOPE"),
        ("identity-key", "${file:/nowhere}", "/nowhere cannot be read"),
        ("tls-cert", "/nowhere", "/nowhere cannot be read: No such file or directory"),
        ("tls-cert", "/", "/ cannot be read: it is no file"),
        ("lease", "1s", "expected at least 5s, found 1s"),
    ],
)
def test_what_is_wrong_is_said_by_flag_and_variable(flag: str, text: str, said: str) -> None:
    assert said in wrong(f"--{flag}", text)
    variable = f"STRANGLER_{flag.upper().replace('-', '_')}"
    assert wrong(**{variable: text}).startswith(f"{variable}: ")


def test_all_that_is_wrong_comes_together() -> None:
    assert len(wrong("--workers", "0", "--max-head", "x", STRANGLER_LEASE="y").splitlines()) == 3


def test_flags_that_contradict_each_other(tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.write_text("")
    assert "--tls-key: needs --tls-cert" in wrong("--tls-key", str(pem))
    assert "--tls-client-ca: needs --tls-cert" in wrong("--tls-client-ca", str(pem))
    assert read("--tls-cert", str(pem), "--tls-key", str(pem)).tls_key == str(pem)
    assert "operations need an address of their own" in wrong("--ops", "127.0.0.1:8080")
    assert "the same value twice" in wrong("--listen", "a:1", "--listen", "a:1")
    assert read("--listen", "127.0.0.1:0", "--ops", "127.0.0.1:0").ops.port == 0


def test_the_identity_key_comes_from_a_file_or_a_secret_and_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("0123456789abcdef\n")
    settings = read("--identity-key", f"${{file:{tmp_path / 'key'}}}")
    assert settings.identity_key == "0123456789abcdef"
    assert read("--identity-key", "${secret-env:K}", K="0123456789abcdef").identity_key == settings.identity_key
    assert "0123456789abcdef" not in repr(settings)
    assert "0123456789" not in wrong(STRANGLER_IDENTITY_KEY="0123456789")


def test_help_names_every_flag_its_default_and_its_variable() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    text = " ".join(parser.format_help().split())
    for name in EVERY:
        assert f"--{name.replace('_', '-')}" in text
        assert f"STRANGLER_{name.upper()}]" in text
    for default in ("127.0.0.1:8080", "sqlite:///strangler.db", "64KiB", "the longest call.timeout + 5s"):
        assert f"[{default};" in text
