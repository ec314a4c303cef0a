"""git over smart HTTP: clone, fetch and push."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.ways import ThirdParty, Ways, needed, standing

needed("gunicorn", programs=["git"])

LARGE = 3_000_000  # more than git's http.postBuffer, so that the push is chunked


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    directory = tmp_path_factory.mktemp("git")
    root = directory / "repositories"
    root.mkdir()
    command = ["-m", "gunicorn", "-k", "gthread", "--threads", "8", "-b", "127.0.0.1:{port}"]
    backend = ThirdParty(
        "git-server", directory, [*command, "tests.clients.git_server:application"], {"GIT_PROJECT_ROOT": str(root)}
    )
    with standing(directory, backend) as ways:
        yield ways


def git(*arguments: str | Path, at: Path) -> str:
    """What git printed. Neither the settings of this machine nor the clock count."""
    told = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    for role in ("AUTHOR", "COMMITTER"):
        told |= {f"GIT_{role}_NAME": "A", f"GIT_{role}_EMAIL": "a@b", f"GIT_{role}_DATE": "2026-01-01T00:00:00Z"}
    told |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
    command = ["git", "-c", "init.defaultBranch=main", *map(str, arguments)]
    run = subprocess.run(command, cwd=at, env=told, capture_output=True, text=True, check=False, timeout=100)
    assert run.returncode == 0, f"{arguments}: {run.stderr}"
    return run.stdout


def story(base: str, root: Path, place: Path) -> list[str]:
    """Push small and large, clone, fetch what is new, delete a branch: what the two ends then hold."""
    place.mkdir()
    git("init", "--bare", root, at=place)
    git("config", "http.receivepack", "true", at=root)
    url = f"{base}/{root.name}"
    git("init", "work", at=place)
    work = place / "work"
    (work / "grüße.txt").write_text("hello\n")
    git("add", ".", at=work)
    git("commit", "-m", "first", at=work)
    git("push", url, "main", at=work)
    git("clone", url, "copy", at=place)
    # What does not compress travels as it is.
    (work / "large.bin").write_bytes(_noise(LARGE))
    git("add", ".", at=work)
    git("commit", "-m", "second", at=work)
    git("tag", "v2", at=work)
    git("push", url, "main", "main:side", "v2", at=work)
    git("pull", "--tags", at=place / "copy")
    git("push", url, ":side", at=work)
    git("clone", "--depth", "1", "-c", "protocol.version=0", url, "shallow", at=place)
    assert (place / "copy" / "large.bin").read_bytes() == (work / "large.bin").read_bytes()
    git("fsck", "--full", "--strict", at=place / "copy")
    return [
        git("for-each-ref", at=root),
        git("rev-parse", "HEAD", at=place / "copy"),
        git("rev-parse", "HEAD", at=place / "shallow"),
        git("ls-remote", url, at=place),
        git("ls-tree", "-r", "HEAD", at=place / "shallow"),
    ]


def _noise(size: int) -> bytes:
    """Bytes that do not compress, the same each time."""
    return b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(size // 32))


@pytest.mark.slow
def test_what_git_pushes_and_clones_is_the_same(ways: Ways, tmp_path: Path) -> None:
    root = ways.backend.log.parent / "repositories"
    direct = story(ways.direct, root / "direct.git", tmp_path / "direct")
    for number, url in enumerate(ways.through):
        assert story(url, root / f"through-{number}.git", tmp_path / str(number)) == direct
    pushed = [line.split() for line in ways.backend.log.read_text().splitlines() if "/git-receive-pack" in line]
    large = [line for line in pushed if line[0] == "POST" and line[2] == "chunked" and int(line[3]) > 2_000_000]
    assert len(large) == 3, "each way has one push that is too large for one buffer of git"
