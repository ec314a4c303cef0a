"""The command line: one file per verb, and beside them what several share.

Exit codes: 0, 1 what was asked for failed, 2 wrong usage or a policy that does not load.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import select
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from strangler.domain.errors import AskedWrongly, AskFailed, OperatorError
from strangler.runtime.collector import rest_collector

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
    """Do what the command line says, and return the exit code.

    Raises:
        SystemExit: the usage is wrong, or help was asked for.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    rest_collector()
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter is told its number
    program = " ".join(["strangler", *(verb for verb in VERBS if verb in given[:1])])
    try:
        code, said = _done(given, program)
    except SystemExit as leaving:
        leaving.code = _end(program, int(leaving.code or 0))
        raise
    return _end(program, code, said)


def _done(given: Sequence[str], program: str) -> tuple[int, str]:
    """Do it. Returns the exit code, and what has to be said of it."""
    try:
        parsed = _parsed(given)
        code: int = _module(parsed.verb).run(parsed)
    except KeyboardInterrupt:
        return _INTERRUPTED, ""
    except AskFailed as error:
        return 2 if isinstance(error, AskedWrongly) else 1, str(error)
    except OperatorError as error:
        return 2, str(error)
    except OSError as error:
        # Whoever reads has had enough, as `head` has; else a full disk, a folder that went from under the shell.
        return (0, "") if isinstance(error, BrokenPipeError) and _unread() else (1, f"{program}: {_reason(error)}")
    return code, ""


class _Parser(argparse.ArgumentParser):
    """Leaves in ``parser`` the innermost one that was asked: it knows the usage that was meant."""

    def __init__(self, **options: Any) -> None:
        # The begin of a flag is none: it might come to mean another one.
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        parsed, rest = super().parse_known_args(args, namespace)
        parsed.parser = getattr(parsed, "parser", self)
        return parsed, rest

    def _print_message(self, message: str, file: Any = None) -> None:
        # Not every argparse takes the same notice of an output that cannot be written, which is one without a buffer.
        output = file or sys.stderr
        with suppress(OSError) if output is sys.stderr else nullcontext():
            output.write(message)


def _parsed(given: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="strangler",
        description="A reverse proxy that turns slow legacy HTTP calls into durable processes. "
        "`strangler VERB --help` says more.",
    )
    parser.add_argument("--version", action="version", version=f"strangler {version('strangler')}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    # A verb brings half of the house with it, so only the one that is asked for is imported.
    for verb in [verb for verb in VERBS if verb in given[:1]] or VERBS:
        _module(verb).add_parser(subparsers)
    parsed: argparse.Namespace
    parsed, rest = parser.parse_known_args(given)
    if rest and "paths" in parsed and not any(text.startswith("-") for text in rest):
        # argparse takes the paths before a flag or those behind it, and calls the others unknown.
        parsed.paths += [Path(text) for text in rest]
    elif rest:
        asked = parsed.parser
        asked.error(f"unrecognized arguments: {' '.join(rest)}; `{asked.prog} --help` says which there are")
    return parsed


def _module(verb: str) -> Any:
    return importlib.import_module(f"strangler.cli.{VERBS[verb]}")


def _end(program: str, code: int, said: str = "") -> int:
    """Write what was found, then what has to be said. Returns the exit code: not 0 where that is lost."""
    lost = _written(sys.stdout)
    if lost is not None and not isinstance(lost, BrokenPipeError):
        code, said = code or 1, said or f"{program}: {_reason(lost)}"
    if said:
        with suppress(OSError):
            print(said, file=sys.stderr)
    _written(sys.stderr)
    return code


def _written(output: TextIO) -> OSError | None:
    """Write what is buffered; where that fails, why: then all of it goes nowhere, now and at the end of Python."""
    try:
        output.flush()
    except OSError as error:
        with _nowhere() as nowhere:
            os.dup2(nowhere.fileno(), output.fileno())
        return error
    return None


def _unread() -> bool:
    """Whether nobody reads stdout any more. A buffer does not tell: Python may have been told to have none."""
    look = select.poll()
    look.register(sys.stdout.fileno(), 0)
    return bool(look.poll(0))


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason


def _nowhere() -> TextIO:
    """In place of an output that was closed before the start (`>&-`), or cannot be written."""
    return open(os.devnull, "w", encoding="utf-8")
