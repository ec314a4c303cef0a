"""Outputs that are closed, full or no longer read, and errors of the system: what is said, and the exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.config.scene import UPSTREAM, one_route, write

FULL = b"No space left on device\n"


def environ(unbuffered: bool) -> dict[str, str]:
    """Python's buffers as they are without a word, or none, whatever these tests run under."""
    given = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**given, "PYTHONUNBUFFERED": "1"} if unbuffered else given


def shell(command: str, *words: str | Path, unbuffered: bool = False) -> tuple[int, bytes, bytes]:
    """The exit code of a line of the shell, in which `$0` is Python, what was said, and what was said of errors."""
    line = ["sh", "-c", command, sys.executable, *map(str, words)]
    done = subprocess.run(line, capture_output=True, check=False, env=environ(unbuffered))
    return done.returncode, done.stdout, done.stderr


def unread(program: list[str], unbuffered: bool) -> tuple[int, bytes]:
    """The exit code of a program whose reader has gone already, and what was said of errors."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(program, stdout=writing, stderr=subprocess.PIPE, check=False, env=environ(unbuffered))
    finally:
        os.close(writing)
    return done.returncode, done.stderr


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return write(tmp_path, UPSTREAM + "default: {upstream: legacy}")


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize(
    ("to", "code", "said"),
    [
        (">&-", 0, b""),
        (">/dev/full", 1, b"strangler check: " + FULL),
        (">/dev/full 2>/dev/full", 1, b""),
        ("2>&-", 0, b""),
        (">&- 2>&-", 0, b""),
    ],
)
def test_an_output_that_is_closed_or_full_is_no_defect(
    policy: Path, to: str, code: int, said: bytes, unbuffered: bool
) -> None:
    done = shell(f'"$0" -m strangler check "$1" {to}', policy, unbuffered=unbuffered)
    assert (done[0], done[2]) == (code, said)


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--version >/dev/full", 1, b"strangler: " + FULL),
        ("--help >/dev/full", 1, b"strangler: " + FULL),
        ("check --help >/dev/full", 1, b"strangler check: " + FULL),
        ("chekc 2>/dev/full", 2, b""),
        ('check "$1" 2>/dev/full', 2, b""),
    ],
)
def test_the_exit_code_is_kept_where_nothing_can_be_said(
    tmp_path: Path, words: str, code: int, said: bytes, unbuffered: bool
) -> None:
    bad = write(tmp_path, one_route("wiat: 2s"))
    assert shell(f'"$0" -m strangler {words}', bad, unbuffered=unbuffered) == (code, b"", said)


@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_reader_who_has_had_enough_is_no_failure(policy: Path, unbuffered: bool) -> None:
    program = [sys.executable, "-m", "strangler", "check", str(policy)]
    assert unread(program, unbuffered) == (0, b"")


RAISING = """
import sys
from strangler.cli import check, main
def run(arguments):
    print("found")
    raise {error}
check.run = run
sys.exit(main(["check", "policy.yaml"]))
"""


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("PermissionError(13, 'Permission denied', '/srv/policy.yaml')", b"/srv/policy.yaml: Permission denied"),
        ("FileNotFoundError(2, 'No such file or directory')", b"No such file or directory"),
        ("OSError('the disk is gone')", b"the disk is gone"),
        ("TimeoutError()", b"TimeoutError"),
        ("BrokenPipeError(32, 'Broken pipe')", b"Broken pipe"),  # of a connection, say: stdout is sound
    ],
)
def test_an_error_of_the_system_is_said_behind_what_was_found(error: str, said: bytes, unbuffered: bool) -> None:
    done = shell('"$0" -c "$1"', RAISING.format(error=error), unbuffered=unbuffered)
    assert done == (1, b"found\n", b"strangler check: " + said + b"\n")


@pytest.mark.parametrize(
    ("error", "code", "said"), [("AskFailed('refused')", 1, b"refused\n"), ("OperatorError('bad')", 2, b"bad\n")]
)
def test_a_failure_stays_one_although_nobody_reads_what_was_found(error: str, code: int, said: bytes) -> None:
    raising = "from strangler.domain.errors import *\n" + RAISING.format(error=error)
    assert unread([sys.executable, "-c", raising], unbuffered=False) == (code, said)


def test_a_token_that_nobody_can_have_seen_is_not_left_in_the_file(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    done = shell('"$0" -m strangler tokens add support --role viewer --file "$1" >/dev/full', tokens)
    assert (done[0], done[2]) == (1, b"strangler tokens: " + FULL)
    assert not tokens.exists()
