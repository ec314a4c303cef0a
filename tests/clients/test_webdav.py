"""litmus, the test suite of WebDAV servers, against WsgiDAV on cheroot."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.ways import ThirdParty, Ways, needed, standing

needed("wsgidav", "cheroot", programs=["litmus"])


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    directory = tmp_path_factory.mktemp("webdav")
    shared = directory / "shared"
    shared.mkdir()
    command = ["-m", "wsgidav.server.server_cli", "--host", "127.0.0.1", "--port", "{port}", "--root", str(shared)]
    with standing(directory, ThirdParty("wsgidav", directory, [*command, "--auth", "anonymous"])) as ways:
        yield ways


def verdicts(url: str, at: Path) -> list[str]:
    """What litmus says of each of its tests, in its own words."""
    at.mkdir()  # it leaves a log where it runs
    run = subprocess.run(
        ["litmus", "--keep-going", url], cwd=at, capture_output=True, text=True, check=False, timeout=100
    )
    lines = re.split(r"[\r\n]+", run.stdout)
    return [re.sub(r"\s+", " ", line).replace(url, "URL") for line in lines if re.match(r"\s*\d+\. .*\w", line)]


@pytest.mark.slow
def test_litmus_comes_to_the_same_verdicts(ways: Ways, tmp_path: Path) -> None:
    direct = verdicts(ways.direct, tmp_path / "direct")
    for name in ("put_get", "expect100", "copy_overwrite", "propfind_d0", "lock_excl"):
        assert any(re.search(rf" {name}\.* pass", line) for line in direct), (name, direct)
    for number, url in enumerate(ways.through):
        assert verdicts(url, tmp_path / str(number)) == direct
