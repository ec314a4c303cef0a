"""An address that cannot be listened on."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from strangler.config.settings import Address
from strangler.domain.errors import OperatorError
from strangler.runtime.listeners import bind

POLICY = "upstreams: {claims: {url: 'http://127.0.0.1:9'}}\ndefault: {upstream: claims}\n"


@pytest.fixture
def taken() -> Iterator[str]:
    """An address that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("flags", [["--listen", "{}"], ["--ops", "{}", "--listen", "127.0.0.1:0"]])
def test_a_start_says_which_address_is_taken(flags: list[str], taken: str, tmp_path: Path) -> None:
    policy = tmp_path / "routes.yaml"
    policy.write_text(POLICY)
    command = [sys.executable, "-m", "strangler", "serve", str(policy), "--store", "memory:", "--ops", "127.0.0.1:0"]
    ended = subprocess.run(
        [*command, *(flag.format(taken) for flag in flags)], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == f"cannot listen on {taken}: Address already in use"


@pytest.mark.parametrize("path", ["/nowhere/at-all.sock", "/"])
def test_a_path_that_cannot_be_listened_on_is_named(path: str) -> None:
    with pytest.raises(OperatorError, match=f"cannot listen on unix:{path}: "):
        bind([Address("", path=path)])
