"""``python -m bench [--quick] [NAME…]``: measure, and print what came out."""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

from bench.accepts import accepts, complete
from bench.callbacks import callbacks
from bench.machine import LOAD_CORE, ROOT, SERVER_CORE
from bench.million import million
from bench.passthrough import compat, passthrough
from bench.polling import polling
from bench.reads import reads, stored
from bench.reconcile import reconcile
from bench.report import Row, Settings, table
from bench.slow_calls import slow
from bench.start_up import start_up
from bench.streams import streams
from bench.translation import translation
from bench.transparency import bulk, idle, latency, reloads
from bench.workers import workers

SCENARIOS: dict[str, Callable[[Settings], list[Row]]] = {
    "accepts": accepts,
    "complete": complete,
    "reads": reads,
    "stored": stored,
    "slow": slow,
    "million": million,
    "streams": streams,
    "polling": polling,
    "callbacks": callbacks,
    "start-up": start_up,
    "reconcile": reconcile,
    "translation": translation,
    "passthrough": passthrough,
    "compat": compat,
    "latency": latency,
    "bulk": bulk,
    "idle": idle,
    "reloads": reloads,
    "workers": workers,
}

COMPILED = ROOT / "build" / "compiled"


def main() -> int:
    """Run the scenarios that were named, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="What strangler does on one core.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(SCENARIOS)}; all without one")
    parser.add_argument("--quick", action="store_true", help="short rounds and smaller stores, for a first look")
    parser.add_argument("--compiled", action="store_true", help="what `make compiled` has made, not what is here")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in SCENARIOS:
            parser.error(f"no scenario is called {name}; there are {', '.join(SCENARIOS)}")
    if arguments.compiled:
        if not COMPILED.exists():
            parser.error("there is nothing compiled; `make compiled` first")
        # For what is started from here: this folder itself comes last.
        os.environ |= {"PYTHONSAFEPATH": "1", "PYTHONPATH": f"{COMPILED}{os.pathsep}{ROOT}"}
    settings = Settings(rounds=3, seconds=1.0, quick=True) if arguments.quick else Settings()
    print(f"{_processor()}, {os.cpu_count()} cores, Linux {platform.release()}, ", end="")
    print(f"CPython {platform.python_version()}; server on core {SERVER_CORE}, load and upstream on core {LOAD_CORE}")
    if SERVER_CORE == LOAD_CORE:
        print("One core only: server and load take time from each other, and the figures say little.")
    print(f"{settings.rounds} interleaved rounds of {settings.seconds:g} s, median (lowest-highest)", flush=True)
    verdicts: list[bool] = []
    for name in arguments.names or SCENARIOS:
        began = time.monotonic()
        scenario = SCENARIOS[name]
        rows = scenario(settings)
        verdicts += [row.met for row in rows if row.met is not None]
        print()
        print(table(f"{name}: {(scenario.__doc__ or '').strip()}", rows))
        options = ("--quick " if settings.quick else "") + ("--compiled " if arguments.compiled else "")
        again = f"python -m bench {options}{name}"
        print(f"      again: {again}   ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"\n{sum(verdicts)} of {len(verdicts)} targets met")
    return 0


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    raise SystemExit(main())
