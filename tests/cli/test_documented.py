"""The README and the documents speak of commands that there are."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

from strangler.cli import VERBS, main
from strangler.config.load import load_policy

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"```\w*\n(.*?)```", re.DOTALL)


def commands() -> set[str]:
    """Every one that a page shows, in a line of its own or within a sentence."""
    found = set()
    for page in PAGES:
        text = page.read_text()
        lines = [line.partition("  ")[0] for block in BLOCK.findall(text) for line in block.splitlines()]
        spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", BLOCK.sub("", text))]
        found |= {code for code in (*lines, *spans) if re.match(r"strangler [a-z]", code)}
    return found


def arguments(command: str) -> list[str]:
    """What a shell would make of it, with one possibility for what is left open. A mere name stands for its help."""
    words = shlex.split(re.sub(r"\[(.*?)\]", r"\1", command.partition(" > ")[0]))[1:]
    if all(re.fullmatch(r"[a-z]+", word) for word in words):
        return [*words, "--help"]
    return ["1" if word == "ID" else word.partition("|")[0] for word in words]


def parsed(command: str, monkeypatch: pytest.MonkeyPatch) -> tuple[object, argparse.Namespace]:
    """The exit code of a command, and what the parser makes of it; nothing is done."""
    taken = argparse.Namespace()

    def take(namespace: argparse.Namespace) -> int:
        vars(taken).update(vars(namespace))
        return 0

    given = arguments(command)
    monkeypatch.setattr(importlib.import_module(f"strangler.cli.{VERBS[given[0]]}"), "run", take)
    code: object
    try:
        code = main(given)
    except SystemExit as ended:  # after its help, too
        code = ended.code
    return code, taken


@pytest.mark.parametrize("command", sorted(commands()))
def test_a_command_in_a_document_is_one_that_there_is(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _ = parsed(command, monkeypatch)
    assert code == 0


def test_a_command_that_names_our_routes_means_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    tried = [parsed(command, monkeypatch)[1] for command in commands() if "try" in command and "routes/" in command]
    assert tried
    for command in tried:
        assert command.route in load_policy(command.policy, {}, offline=True).table.routes
