"""``strangler check``: what is wrong with a policy, without starting anything."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from strangler.config.load import Loaded, load_policy
from strangler.config.settings import base_url
from strangler.domain.errors import OperatorError


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "check",
        help="say what is wrong or unwise in a policy",
        description="Loads a policy as `serve` would, and says what is wrong (error), legal but unwise (warning) or "
        "good to know (note), with file, line and column. Exit codes: 0 it loads; 1 it loads, with warnings, under "
        "--strict; 2 it does not load.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="policy files, and folders of them")
    parser.add_argument("--strict", action="store_true", help="warnings fail as well (or STRANGLER_STRICT=true)")
    parser.add_argument(
        "--offline",
        action="store_true",
        help="variables, schemas and certificates that are not here are notes instead of errors (or "
        "STRANGLER_OFFLINE=true)",
    )
    parser.add_argument(
        "--public-url",
        metavar="URL",
        help="the one that `serve` is going to be given; callbacks need one (also STRANGLER_PUBLIC_URL)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Check it. Returns 0, or 1 where warnings fail.

    Raises:
        OperatorError: the URL is none, or a variable is wrong.
        PolicyErrors: the policy does not load.
    """
    strict = arguments.strict or _is_set("STRANGLER_STRICT")
    offline = arguments.offline or _is_set("STRANGLER_OFFLINE")
    public_url = arguments.public_url or os.environ.get("STRANGLER_PUBLIC_URL")
    if public_url:
        try:
            base_url(public_url)
        except ValueError as error:
            raise OperatorError(f"--public-url: {error}") from None
    loaded = load_policy(arguments.paths, os.environ, offline=offline, public_url=bool(public_url))
    for finding in loaded.findings:
        print(finding)
    if strict and loaded.warnings:
        print(f"{_summary(loaded)}; with --strict, warnings fail", file=sys.stderr)
        return 1
    print(_summary(loaded))
    return 0


def _is_set(variable: str) -> bool:
    text = os.environ.get(variable, "")
    if text not in ("", "true", "false"):
        raise OperatorError(f"{variable}: expected true or false, found {text!r}")
    return text == "true"


def _summary(loaded: Loaded) -> str:
    table, warnings = loaded.table, len(loaded.warnings)
    counts = [(len(table.routes), "route"), (len(table.upstreams), "upstream"), (warnings, "warning")]
    return ", ".join(f"{number} {name}{'' if number == 1 else 's'}" for number, name in counts)
