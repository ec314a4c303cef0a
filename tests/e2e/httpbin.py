"""httpbin under gunicorn: a service with threads that nobody here wrote."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.harness.child import Child
from tests.harness.waiting import eventually, free_port


class Httpbin(Child):
    """The third-party service in an OS process of its own."""

    def __init__(self, directory: Path) -> None:
        super().__init__("httpbin", directory / "httpbin.log")
        self.port = free_port()

    @property
    def url(self) -> str:
        """Base of its listener."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it and wait until it listens."""
        self.spawn(
            ["-m", "gunicorn", "-k", "gthread", "--threads", "16", "-b", f"127.0.0.1:{self.port}", "httpbin:app"]
        )
        await eventually(self._listens, what="httpbin listens")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
