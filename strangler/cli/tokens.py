"""``strangler tokens``: named tokens for the operations listener."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from strangler.domain.errors import OperatorError
from strangler.operations.api.endpoint import Role
from strangler.operations.api.tokens import entry_line, is_name, make_token, parse


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "tokens",
        help="make named tokens for operators",
        description="A file of tokens names who may come in at the operations listener (`strangler serve --ops-tokens "
        "FILE`). It holds hashes only. A token is taken away by deleting its line; the server reads the file again.",
    )
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = verbs.add_parser("add", help="make a token, show it once, and add its line to the file")
    add.add_argument("name", metavar="NAME", help="who it is for; it stands in the audit log")
    add.add_argument("--role", required=True, choices=("viewer", "operator"), help="reads, or reads and changes")
    add.add_argument(
        "--file",
        default=os.environ.get("STRANGLER_OPS_TOKENS"),
        metavar="FILE",
        help="the file of `serve --ops-tokens` (or STRANGLER_OPS_TOKENS); made if there is none",
    )
    add.set_defaults(act=_add)
    listing = verbs.add_parser("list", help="names and roles of a file")
    listing.add_argument("--file", default=os.environ.get("STRANGLER_OPS_TOKENS"), metavar="FILE", help="the file")
    listing.set_defaults(act=_list)


def run(arguments: argparse.Namespace) -> int:
    """Do it. Returns 0.

    Raises:
        OperatorError: the name or the file will not do.
    """
    if arguments.file is None:
        raise OperatorError("--file: which one? Give the path that `serve --ops-tokens` has")
    code: int = arguments.act(arguments)
    return code


def _add(arguments: argparse.Namespace) -> int:
    path = Path(arguments.file)
    if not is_name(arguments.name):
        raise OperatorError("NAME: expected up to 64 letters, digits, spaces and . _ @ + -, as in alice or ci-smoke")
    text = _text(path)
    if any(entry.name == arguments.name for entry in parse(text, str(path))):
        raise OperatorError(f"{path}: there is a token of this name; delete its line first, or take another name")
    token = make_token()
    line = entry_line(arguments.name, Role(arguments.role), token)
    parse(text + ("" if not text or text.endswith("\n") else "\n") + line, str(path))  # the file is a list of lines
    print(token, flush=True)  # first: a token that nobody has seen must not be left in the file
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(line if not text or text.endswith("\n") else "\n" + line)
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}; the token above is none") from error
    print(
        f"{arguments.name} has it from now on. It is shown this once; give it as STRANGLER_OPS_TOKEN, or as the header "
        "Authorization: Bearer …",
        file=sys.stderr,
    )
    return 0


def _list(arguments: argparse.Namespace) -> int:
    path = Path(arguments.file)
    if not path.exists():
        raise OperatorError(f"{path}: there is no such file")
    for entry in parse(_text(path), str(path)):
        print(f"{entry.name:<24} {entry.role}")
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"{path}: it cannot be read: {error}") from error
