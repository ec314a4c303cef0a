"""`strangler serve`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

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
    from strangler.runtime.serve import serve

    return serve(read_settings(arguments, os.environ), arguments.paths, os.environ)
