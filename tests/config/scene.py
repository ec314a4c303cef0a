"""Policies from text, and what loading them says."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from strangler.config.files import stamp
from strangler.config.load import Loaded, load_policy
from strangler.config.located import PolicyErrors
from strangler.policy.model import Route
from tests.front.certificates import Authority

UPSTREAM = 'upstreams: {legacy: {url: "http://127.0.0.1:8081"}}\n'


def write_certificates(folder: Path) -> None:
    """An authority's certificate in ca.pem, one that it issued in cert.pem, and its private key in key.pem."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = Authority(folder, "ca")
    for path, name in zip(authority.issue("own"), ("cert.pem", "key.pem"), strict=True):
        Path(path).rename(folder / name)


def stamps(folder: Path, *names: str) -> tuple[tuple[int, ...], ...]:
    """What these files are like."""
    found = [stamp(str(folder / f"{name}.pem")) for name in names]
    return tuple(one for one in found if one is not None)


def private_key(password: bytes = b"") -> bytes:
    """A private key of nobody, as PEM."""
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


def write(folder: Path, text: str, name: str = "policy.yaml") -> Path:
    """A policy file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def load(folder: Path, text: str, environ: Mapping[str, str] | None = None, *, offline: bool = False) -> Loaded:
    """What a policy text loads to."""
    return load_policy([write(folder, text)], environ or {}, offline=offline)


def one_route(keys: str = "", *, methods: str = "[POST]", mode: str = "async", upstream: str = UPSTREAM) -> str:
    """A policy with one route and further keys of it, as YAML."""
    return (
        upstream
        + f"routes:\n  - name: claims\n    match: {{path: /claims, methods: {methods}}}\n    upstream: legacy\n"
        + f"    mode: {mode}\n"
        + textwrap.indent(textwrap.dedent(keys).strip("\n"), "    ")
        + "\n"
    )


def load_route(
    folder: Path, keys: str = "", *, methods: str = "[POST]", mode: str = "async", upstream: str = UPSTREAM
) -> Route:
    """The one route."""
    return load(folder, one_route(keys, methods=methods, mode=mode, upstream=upstream)).table.routes["claims"]


def errors(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """What is wrong with a policy text, without the folder's name."""
    with pytest.raises(PolicyErrors) as raised:
        load(folder, text, environ)
    return without_folder(folder, str(raised.value))


def advice(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """What is unwise in a policy text."""
    return [line for finding in load(folder, text, environ).findings for line in without_folder(folder, str(finding))]


def without_folder(folder: Path, text: str) -> list[str]:
    """The lines of a report as they would be shown within the folder."""
    return text.replace(f"{folder}/", "").splitlines()
