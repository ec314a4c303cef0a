from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench import peers
from bench.machine import CORES, Program, get, python
from bench.pace import steady
from bench.transparency import _bounded
from bench.volume import down, up
from tests.bench.test_load import program
from tests.harness.waiting import free_port


def test_a_steady_load_measures_each_exchange_once() -> None:
    with program("bench.upstream", "{port}", "0") as upstream:
        began = time.monotonic()
        latencies = steady(upstream.port, 200, 0.25)
        assert time.monotonic() - began >= 0.25
    assert len(latencies) == 50
    assert min(latencies) > 0


def test_a_steady_load_takes_no_failure_for_a_reply() -> None:
    with program("bench.volume", "serve", "{port}") as server:
        with pytest.raises((RuntimeError, ConnectionError)):
            steady(server.port, 200, 0.25)


def test_large_bodies_go_and_come_whole_or_not_at_all() -> None:
    with program("bench.volume", "serve", "{port}") as server:
        assert down(server.port, 3_000_001) > 0
        assert up(server.port, 3_000_001) > 0
    with program("bench.upstream", "{port}", "0") as server:
        with pytest.raises(RuntimeError, match="not all came"):
            down(server.port, 3_000_001)


def test_a_bound_is_held_by_the_median() -> None:
    assert _bounded("x", [0.1, 0.4, 9.0], 0.5, "ms").met
    assert not _bounded("x", [0.1, 0.6, 0.7], 0.5, "ms").met


def test_a_peer_that_is_not_installed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("STRANGLER_BENCH_PEERS", str(tmp_path))
    found = [peer.name for peer in peers.PEERS if peer.name != "40 lines of aiohttp" and peer.start(tmp_path, 1)]
    assert found == []
    assert peers.backend(tmp_path) is None


@pytest.mark.slow
@pytest.mark.parametrize("peer", peers.PEERS, ids=lambda peer: peer.name)
def test_every_peer_passes_on_what_the_upstream_says(peer: peers.Peer, tmp_path: Path) -> None:
    port = free_port()
    with Program("upstream", python("bench.upstream", str(port), "0"), port, CORES[-1]) as upstream:
        started = peer.start(tmp_path, upstream.port)
        if started is None:
            pytest.skip(f"{peer.name} is not installed: sh bench/install_peers.sh")
        with started as proxy:
            assert get(f"http://127.0.0.1:{proxy.port}/a")[1].startswith(b'{"claim"')
