"""``strangler demo`` as its viewers see it: the story with the real server, their own attempts, Ctrl-C."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("demo"),  # one after another: each takes the port that it wishes for, also after a crash
]

ROOT = Path(__file__).parents[2]
SPEED = "10"


class Demo:
    """A running demonstration, and what it has said so far."""

    def __init__(self, directory: Path, *flags: str) -> None:
        self.errors = directory / "errors"
        self.said = ""
        with self.errors.open("wb") as errors:
            self.program = subprocess.Popen(
                [sys.executable, "-m", "strangler", "demo", "--speed", SPEED, *flags],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=directory,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "TMPDIR": str(directory)},
                text=True,
            )

    def until(self, text: str) -> str:
        """Read until a line holds ``text``; what was said so far."""
        for line in self._output:
            self.said += line
            if text in line:
                return self.said
        raise AssertionError(f"never said {text!r}:\n{self.said}\n{self.errors.read_text()}")

    def end(self) -> int:
        """Read to the end; the exit code."""
        self.said += self._output.read()
        return self.program.wait()

    def parts(self) -> list[int]:
        """The programs that it has started and that are running."""
        pid = self.program.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    @property
    def _output(self) -> IO[str]:
        assert self.program.stdout is not None
        return self.program.stdout


def started(directory: Path, *flags: str) -> Iterator[Demo]:
    demo = Demo(directory, *flags)
    try:
        yield demo
    finally:
        if demo.program.poll() is None:
            demo.program.send_signal(signal.SIGTERM)
            demo.program.wait()
        demo._output.close()


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """A demonstration that stays up after the story."""
    yield from started(tmp_path)


@pytest.fixture
def brief_demo(tmp_path: Path) -> Iterator[Demo]:
    """A demonstration that ends after the story."""
    yield from started(tmp_path, "--no-wait")


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_the_story_is_told_to_its_end(brief_demo: Demo, tmp_path: Path) -> None:
    code = brief_demo.end()

    assert (code, brief_demo.errors.read_text()) == (0, "")
    told = brief_demo.said
    assert "DUPLICATE of C-0001" in told  # the old way
    assert re.search(r"← 202 Accepted +RECEIVED", told) or re.search(r"← 202 Accepted +ASSESSING", told)
    assert "Idempotency-Replayed: true" in told
    assert "← 303 See Other  REGISTERED" in told
    assert "the same, byte for byte" in told
    assert len(re.findall(r"P-100[34]  unconfirmed, effect unknown", told)) == 2
    assert "three claims made, none of them twice" in told
    assert max(len(line) for line in told.splitlines() if str(tmp_path) not in line) <= 80
    assert not list(tmp_path.glob("strangler-demo-*"))


@pytest.mark.skipif(shutil.which("curl") is None, reason="the commands are for curl")
def test_what_it_invites_to_try_works_and_ctrl_c_ends_everything(demo: Demo, tmp_path: Path) -> None:
    told = demo.until("Ctrl-C ends everything")
    parts = demo.parts()
    commands = re.findall(r"^  ((?:curl|strangler|\S+ -m strangler) (?:.*\\\n)*.*)$", told, re.MULTILINE)

    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    answers = [
        subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environ, capture_output=True) for command in commands
    ]
    demo.program.send_signal(signal.SIGINT)
    code = demo.end()

    assert [answer.returncode for answer in answers] == [0] * 8
    submitted, listed, document, asked, passed, registered, found, measured = (answer.stdout for answer in answers)
    assert submitted.startswith(b"HTTP/1.1 202 ")
    assert b'"type":"ClaimSubmission"' in listed.replace(b" ", b"")
    assert document == b""
    assert (tmp_path / "document.pdf").read_bytes().startswith(b"%PDF")
    assert asked.startswith(b"HTTP/1.1 202 ")
    assert passed.startswith(b"HTTP/1.1 200 ")
    assert b"C-0006" in registered
    assert b"submit-claim" in found
    assert b"# TYPE strangler_" in measured
    assert code == 0
    assert len(parts) == 2
    assert all(gone(part) for part in parts)
    assert not list(tmp_path.glob("strangler-demo-*"))


def test_a_part_that_crashes_is_reported_with_the_end_of_its_log(demo: Demo, tmp_path: Path) -> None:
    demo.until("Ctrl-C ends everything")
    legacy, strangler = demo.parts()

    os.kill(strangler, signal.SIGKILL)
    code = demo.end()

    assert code == 1
    assert "strangler was ended by SIGKILL" in demo.errors.read_text()
    assert "strangler.log:" in demo.errors.read_text()
    assert gone(legacy)
    assert (next(tmp_path.glob("strangler-demo-*")) / "strangler.log").exists()


@pytest.mark.parametrize("ways", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM], [signal.SIGHUP]])
def test_an_end_in_the_middle_of_the_story_ends_everything(
    demo: Demo, tmp_path: Path, ways: list[signal.Signals]
) -> None:
    demo.until("The new way")
    parts = demo.parts()

    for way in ways:
        demo.program.send_signal(way)
    code = demo.end()

    assert code == 0
    assert all(gone(part) for part in parts)
    assert not list(tmp_path.glob("strangler-demo-*"))
