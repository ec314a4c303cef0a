"""``strangler fsck``: whether all that has to hold of a store does."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from strangler.domain.errors import OperatorError, StoreUnavailable
from strangler.store.fsck import Report
from strangler.store.open import open_ledgers


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "fsck",
        help="check the invariants of a store",
        description="Reads a store from end to end and says what does not hold: history and row, hash chain, bodies, "
        "outbox, keys, credentials. It changes nothing, and may run beside the server or over a copy of its files. "
        "Exit codes: 0 all is well; 1 something is wrong; 2 wrong usage, or there is no such store.",
    )
    parser.add_argument(
        "--store",
        default=os.environ.get("STRANGLER_STORE"),
        metavar="URL",
        help="as in `serve`: sqlite:///relative.db or sqlite:////absolute.db (or STRANGLER_STORE). "
        "Has no default, so that what it finds well is the store that was meant",
    )


def run(arguments: argparse.Namespace) -> int:
    """Check it. Returns 0, or 1 where something is wrong.

    Raises:
        OperatorError: there is no such store.
    """
    if arguments.store is None:
        raise OperatorError("--store: which one? Give the URL that `serve` has, as in sqlite:///strangler.db")
    try:
        with open_ledgers(arguments.store) as ledgers:
            report = Report(ledgers)
            for finding in report:
                print(finding)
    except StoreUnavailable as error:
        print(f"store: it cannot be read to the end: {error}")
        return 1
    processes = f"{report.processes} process{'' if report.processes == 1 else 'es'}"
    if report.findings:
        print(f"{processes}, {report.findings} finding{'' if report.findings == 1 else 's'}", file=sys.stderr)
        return 1
    print(f"{processes}, all is well")
    return 0
