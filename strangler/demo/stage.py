"""Where the story is played: the legacy system, Strangler in front of it, and a directory for what they keep."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from strangler.demo.client import answers
from strangler.demo.part import Part, take_port

POLICY = Path(__file__).parent / "insurer.yaml"
"""The route policy; in a checkout it is a link to ``routes/insurer.yaml``."""


class Stage:
    """Both parts on free ports of 127.0.0.1. ``speed`` divides the legacy system's working times, not Strangler's."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self.policy = POLICY.resolve()
        self.directory = Path(tempfile.mkdtemp(prefix="strangler-demo-"))
        self.store = self.directory / "strangler.db"
        self._ports = [take_port(wish) for wish in (8081, 8080, 9901)]
        legacy_port, port, operations_port = (taken.getsockname()[1] for taken in self._ports)
        self.legacy_url, self.url, self.operations_url = (
            f"http://127.0.0.1:{number}" for number in (legacy_port, port, operations_port)
        )
        # What is set for a Strangler of the viewer's own is none of ours.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STRANGLER_")}
        self.legacy = Part(
            "the legacy system",
            self.directory / "legacy.log",
            ("strangler.demo.legacy",),
            {"port": str(legacy_port), "speed": str(speed), "database": str(self.directory / "insurer.db")},
            environment,
            announces="listening on",
        )
        self.strangler = Part(
            "strangler",
            self.directory / "strangler.log",
            ("strangler", "serve", str(self.policy)),
            {
                "listen": f"127.0.0.1:{port}",
                "ops": f"127.0.0.1:{operations_port}",
                "store": f"sqlite:///{self.store}",
                "disk-reserve": "64MiB",
                "drain-timeout": "2s",
                "log-format": "text",
            },
            {**environment, "LEGACY_URL": self.legacy_url},
            announces=f"listen address=127.0.0.1:{port}",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.strangler.stop()
        self.legacy.stop()
        for taken in self._ports:
            taken.close()
        if kind is None or issubclass(kind, KeyboardInterrupt):  # else the logs may be wanted
            shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        """Start the legacy system, then Strangler.

        Raises:
            PartFailed: one of them does not come up.
        """
        self.legacy.start(lambda: answers(f"{self.legacy_url}/policies/P-1001"))
        self.start_strangler()

    def start_strangler(self) -> None:
        """Start Strangler, for the first time or again, on the store that is there.

        Raises:
            PartFailed: it does not come up.
        """
        self.strangler.start(lambda: answers(f"{self.operations_url}/readyz"))

    def check(self) -> None:
        """Do nothing while both parts run.

        Raises:
            PartFailed: one of them does not.
        """
        self.legacy.check()
        self.strangler.check()
