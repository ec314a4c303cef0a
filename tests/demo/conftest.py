"""A running legacy insurer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from strangler.demo.legacy import Handler, Insurer, Server
from strangler.demo.register import Register


class RunningInsurer(NamedTuple):
    """Where it listens."""

    port: int
    insurer: Insurer


@pytest.fixture
def insurer(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningInsurer]:
    """An insurer that works two hundred times as fast as usual, or as fast as the parameter says, and keeps no log."""
    monkeypatch.setattr(Handler, "log_message", lambda *_: None)
    application = Insurer(Register(tmp_path / "insurer.db"), getattr(request, "param", 200))
    with Server(("127.0.0.1", 0), application) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield RunningInsurer(server.server_port, application)
        application.stop()
        server.shutdown()
        thread.join()
