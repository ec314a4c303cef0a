"""pip installs from a package index that pypiserver serves."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.ways import ThirdParty, Ways, needed, standing

needed("pip", "pypiserver")

PADDING = os.urandom(2_000_000)  # so that the wheel is more than one read


def build_wheel(directory: Path, name: str, version: str, requires: str = "") -> None:
    """A wheel with one module, as its specification has it."""
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name}/__init__.py": f"VERSION = {version!r}\n".encode(),
        f"{name}/padding.bin": PADDING,
        f"{about}/METADATA": (metadata + (f"Requires-Dist: {requires}\n" if requires else "")).encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            lines.append(f"{path},sha256={digest},{len(content)}")
        wheel.writestr(f"{about}/RECORD", "\n".join([*lines, f"{about}/RECORD,,"]) + "\n")


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    directory = tmp_path_factory.mktemp("index")
    packages = directory / "packages"
    packages.mkdir()
    for version in ("1.0", "1.1", "2.0"):
        build_wheel(packages, "legacy_claims", version, "legacy_money>=3")
    build_wheel(packages, "legacy_money", "3.4")
    command = ["-m", "pypiserver", "run", "-i", "127.0.0.1", "-p", "{port}", "--disable-fallback", str(packages)]
    with standing(directory, ThirdParty("pypiserver", directory, command)) as ways:
        yield ways


def installed(base: str, target: Path, *arguments: str) -> dict[str, bytes]:
    """The files that pip put into a folder."""
    command = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--quiet"]
    command += ["--no-cache-dir", "--no-compile", "--index-url", f"{base}/simple/", "--target", str(target)]
    # A machine may have package indexes of its own in its settings.
    environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INPUT": "1"}
    run = subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert run.returncode == 0, run.stderr
    return {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["legacy-claims<2"], ["legacy_claims", "--use-feature=fast-deps"]])
def test_pip_installs_the_same_files(ways: Ways, tmp_path: Path, arguments: list[str]) -> None:
    direct = installed(ways.direct, tmp_path / "direct", *arguments)
    wanted = b"VERSION = '1.1'\n" if "legacy-claims<2" in arguments else b"VERSION = '2.0'\n"
    assert direct["legacy_claims/__init__.py"] == wanted
    assert direct["legacy_money/padding.bin"] == PADDING
    for number, url in enumerate(ways.through):
        assert installed(url, tmp_path / str(number), *arguments) == direct
