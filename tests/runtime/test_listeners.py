"""An address that cannot be listened on."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from strangler.config.settings import Address
from strangler.config.system import SystemClock
from strangler.domain.errors import OperatorError
from strangler.domain.process import State
from strangler.runtime.listeners import bind
from strangler.store.ledger import Ledger
from strangler.store.open import open_ledgers, open_store
from strangler.store.sealing import AesGcmSealer
from tests.store import builders as make
from tests.store.test_conformance import done

POLICY = "upstreams: {claims: {url: 'http://127.0.0.1:9'}}\ndefault: {upstream: claims}\n"
RECORDED = """
upstreams: {claims: {url: "http://127.0.0.1:9"}}
routes: [{name: claims, match: {path: /claims}, upstream: claims, mode: async}]
"""


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


@pytest.mark.parametrize("wrong", ["address", "certificate"])
async def test_who_cannot_listen_begins_no_call(wrong: str, taken: str, tmp_path: Path) -> None:
    url, key = f"sqlite:///{tmp_path}/store.db", "0123456789abcdef"
    store = open_store(url, AesGcmSealer(key.encode()), SystemClock())
    due = make.draft(route="claims", due_at=0, created_at=0, deadline_at=2**53)
    await done(store, make.accept(due))
    await store.close()
    (tmp_path / "routes.yaml").write_text(RECORDED)
    (tmp_path / "no.pem").write_text("no certificate")
    flags = ["--listen", taken] if wrong == "address" else ["--listen", "127.0.0.1:0", "--tls-cert", "no.pem"]
    command = [sys.executable, "-m", "strangler", "serve", "routes.yaml", "--store", url, "--ops", "127.0.0.1:0"]
    command += ["--identity-key", key, "--disk-reserve", "0B", *flags]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert ended.returncode == 2, ended.stderr
    with open_ledgers(url) as ledgers:
        [ledger] = ledgers.all()
    assert isinstance(ledger, Ledger)
    assert (ledger.process.state, ledger.process.tries) == (State.RECEIVED, 0)
