"""`strangler serve`."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path
from typing import NoReturn

from strangler.config.settings import add_arguments, read_settings


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "serve",
        help="stand in front of a legacy API",
        description="Serve a policy: files and folders of YAML, which together make one table of routes.",
        epilog="SIGHUP reads the policy again. SIGTERM drains and ends with 0; a second one ends at once.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="policy files, or folders of them")
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the server. 0: it was drained; 2: it could not start."""
    # Half of the house is imported now, which takes its time. The first process of a container has no default action
    # for a signal: a SIGTERM of these moments would be lost, and the container killed when its grace period is over.
    signal.signal(signal.SIGTERM, _end)
    from strangler.runtime.serve import serve

    return serve(read_settings(arguments, os.environ), arguments.paths, os.environ)


def _end(number: int, _: object) -> NoReturn:
    """End as by the default action, until the server has a way of its own: nothing is under way yet."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # still here: the first process of a container
