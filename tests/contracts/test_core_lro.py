"""@azure/core-lro of npm, as it is, follows a process to its end and to its failure."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.harness.server import Server

HERE = Path(__file__).parent
NODE = shutil.which("node")
MODULES = Path(os.environ.get("STRANGLER_TEST_NODE_MODULES", HERE / "node_modules"))

pytestmark = [
    pytest.mark.slow,  # it sleeps as long as Retry-After says
    pytest.mark.skipif(NODE is None, reason="there is no node"),
    pytest.mark.skipif(
        not (MODULES / "@azure" / "core-lro").is_dir(),
        reason="@azure/core-lro is not installed: npm install --prefix tests/contracts, 12 MB",
    ),
]


def follow(directory: Path, method: str, url: str, script: str) -> Any:
    """What the library's poller came to."""
    program = directory / "follow.mjs"
    shutil.copy(HERE / "follow.mjs", program)
    (directory / "node_modules").symlink_to(MODULES)  # modules are looked for beside the program
    assert NODE is not None
    ran = subprocess.run(
        [NODE, str(program), method, url, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_it_is_followed_to_its_end_and_the_result_is_the_legacy_body(
    server: Server, tmp_path: Path, method: str
) -> None:
    told = follow(tmp_path, method, f"{server.url}/azure/claims", "delay=0.3")
    assert told["status"] == "succeeded"
    assert (told["result"]["body"]["method"], told["result"]["body"]["path"]) == (method, "/azure/claims")


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_it_is_followed_to_its_failure_and_the_error_says_why(server: Server, tmp_path: Path, method: str) -> None:
    told = follow(tmp_path, method, f"{server.url}/azure/claims", "delay=0.3 status=422")
    assert told["status"] == "failed"
    assert "Rejected" in told["error"]
    assert "safe to try again" in told["error"]
