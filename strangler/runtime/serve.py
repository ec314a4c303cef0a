"""`strangler serve`: settings and policy to a running server, and its end by signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from strangler.config.settings import Settings
from strangler.config.system import SystemClock
from strangler.domain.errors import OperatorError
from strangler.operations.logs import Bridge, Logs, descriptor_writer
from strangler.operations.telemetry import Telemetry
from strangler.runtime.collector import calm_collector
from strangler.runtime.loops import loop_factory
from strangler.runtime.policies import read_first
from strangler.runtime.server import Server
from strangler.runtime.supervisor import KILLED_TWICE, supervise
from strangler.runtime.tasks import Tasks
from strangler.store.open import open_store, store_path
from strangler.store.sealing import AesGcmSealer, load_identity_key


def serve(settings: Settings, paths: Sequence[Path], environ: Mapping[str, str]) -> int:
    """Run until a signal ends it. Returns the exit code: 0 after a drain.

    Raises:
        OperatorError: the policy does not load, the store cannot be opened, an address cannot be listened on.
    """
    if settings.workers > 1:
        return supervise(settings, paths, environ)
    runner = asyncio.Runner(loop_factory=loop_factory())
    with runner:
        return runner.run(_serve(settings, paths, environ))


async def _serve(settings: Settings, paths: Sequence[Path], environ: Mapping[str, str]) -> int:
    clock = SystemClock()
    logs = Logs(descriptor_writer(sys.stderr.fileno()), form=settings.log_format, level=settings.log_level)
    telemetry = Telemetry(logs, version=version("strangler"), started_at=clock.now(), access_log=settings.access_log)
    bridge = Bridge(logs)
    logs.start()
    bridge.install()
    try:
        found = read_first(settings, paths, environ)
        identity_key = load_identity_key(settings.identity_key, store_path(settings.store))
        store = open_store(
            settings.store,
            AesGcmSealer(identity_key),
            clock,
            on_group_commit=telemetry.group_commit,
            disk_reserve=settings.disk_reserve,
        )
        telemetry.note("store_open", location=store.location, software=store.software)
        server = Server(settings, paths, environ, store, identity_key, telemetry)
        # Before it listens: who is asked to end while it starts ends in order, too.
        asked = _signalled(server, telemetry)
        try:
            await server.start(await server.policies.first(found))
            calm_collector()
        except BaseException:
            await server.close()
            raise
        await asked.wait()
        await server.drain()
        return 0
    except OSError as error:
        raise OperatorError(str(error)) from error
    finally:
        bridge.remove()
        logs.close()


def _signalled(server: Server, telemetry: Telemetry) -> asyncio.Event:
    """Set at the first SIGTERM or SIGINT; the second one ends it at once. SIGHUP reads the policy anew."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def end(number: int) -> None:
        if asked.is_set():
            # Nobody is waited for: what is in flight is found by its lease when somebody starts again.
            os._exit(KILLED_TWICE)
        asked.set()

    reloads = Tasks(telemetry)

    def reload() -> None:
        if server.started:
            reloads.start(server.policies.reload())

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    loop.add_signal_handler(signal.SIGHUP, reload)
    return asked
