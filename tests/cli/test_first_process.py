"""The first process of a container, for which the kernel has no default action: a signal without a handler is lost."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.config.scene import UPSTREAM, write

_AS_FIRST = ["unshare", "--map-root-user", "--pid", "--fork", "--kill-child"]

_ENDED_WHILE_IT_IMPORTS = """
import importlib.abc, os, signal, sys
from strangler.cli import main

class Ending(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "strangler.runtime.serve":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Ending())
sys.exit(main(["serve", sys.argv[1], "--store", "nonsense"]))
"""


def ended(policy: Path, *before: str) -> int:
    """How a server ends that is told to while it imports its rooms; 2 where it went on, to a store of no kind."""
    command = [*before, sys.executable, "-c", _ENDED_WHILE_IT_IMPORTS, str(policy)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def _possible() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*_AS_FIRST, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return write(tmp_path, UPSTREAM + "default: {upstream: legacy}")


@pytest.mark.skipif(not _possible(), reason="processes of one's own need user namespaces")
def test_the_first_process_of_a_container_ends_when_told_to_while_it_starts(policy: Path) -> None:
    assert ended(policy, *_AS_FIRST) == 128 + signal.SIGTERM


def test_any_other_process_is_ended_by_the_signal_itself(policy: Path) -> None:
    assert ended(policy) == -signal.SIGTERM
