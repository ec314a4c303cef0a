"""The command line, one file per verb.

Exit codes: 0, 1 what was asked for failed, 2 wrong usage or a policy that does not load.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

from strangler.domain.errors import AskFailed, OperatorError

VERBS = {
    "serve": "serve",
    "check": "check",
    "try": "trying",
    "fsck": "fsck",
    "store": "store",
    "processes": "processes",
    "exceptions": "exceptions",
    "reconcile": "reconcile",
    "deliveries": "deliveries",
    "receivers": "receivers",
    "routes": "routes",
    "audit": "audit",
    "drain": "draining",
    "tokens": "tokens",
    "demo": "demo",
}
"""The verbs, each with its module."""


_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter is told its number
    parser = argparse.ArgumentParser(
        prog="strangler",
        description="A reverse proxy that turns slow legacy HTTP calls into durable processes. "
        "`strangler VERB --help` says more.",
    )
    parser.add_argument("--version", action="version", version=f"strangler {version('strangler')}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    # A verb brings half of the house with it, so only the one that is asked for is imported.
    asked = [verb for verb in VERBS if verb in given[:1]] or [*VERBS]
    modules = {verb: importlib.import_module(f"strangler.cli.{VERBS[verb]}") for verb in asked}
    for module in modules.values():
        module.add_parser(subparsers)
    parsed, rest = parser.parse_known_args(given)
    if rest and "paths" in parsed and not any(text.startswith("-") for text in rest):
        # argparse takes the paths before a flag or those behind it, and calls the others unknown.
        parsed.paths += [Path(text) for text in rest]
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}; `strangler {parsed.verb} --help` says which there are")
    try:
        code: int = modules[parsed.verb].run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has had enough, as `head` has.
        _write_no_more()
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    except AskFailed as error:
        print(error, file=sys.stderr)
        return 1
    except OperatorError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        # A full disk behind the output, a folder that went from under the shell.
        _write_no_more()
        print(f"strangler {parsed.verb}: {error.strerror or error}", file=sys.stderr)
        return 1
    return code


def _write_no_more() -> None:
    """What is still to be written at the end goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _nowhere() -> TextIO:
    """In place of an output that was closed before the start (`>&-`)."""
    return open(os.devnull, "w", encoding="utf-8")
