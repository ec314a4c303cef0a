"""The unit of systemd."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from tests.deploy.material import DEPLOY, assert_it_drains_within, judged, served, tool

UNIT = DEPLOY / "systemd" / "strangler.service"


def values(key: str) -> list[str]:
    """All values of a key, in order."""
    lines = (line.partition("=") for line in UNIT.read_text().splitlines() if not line.startswith("#"))
    return [value for name, _, value in lines if name == key]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit as if the program were installed."""
    program = shlex.split(values("ExecStart")[0])[0]
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(program, f'"{sys.executable}"'))
    return unit


def test_systemd_takes_the_unit_as_it_is_meant(installed: Path) -> None:
    said = judged(tool("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no", installed)
    assert "strangler" not in said.stderr


def test_systemd_finds_little_that_the_service_could_do_harm_with(installed: Path) -> None:
    judged(tool("systemd-analyze"), "security", "--offline=yes", "--threshold=15", installed)


def test_its_settings_are_understood_and_it_has_time_to_drain(tmp_path: Path) -> None:
    (tmp_path / "identity-key").write_text("0123456789abcdef" * 4)
    environment = dict(
        pair.replace("%d", str(tmp_path)).split("=", 1) for line in values("Environment") for pair in shlex.split(line)
    )
    settings, paths = served(shlex.split(values("ExecStart")[0])[1:], environment)
    assert paths == [Path("/etc/strangler/routes")]
    assert settings.identity_key == "0123456789abcdef" * 4
    assert settings.store.startswith(f"sqlite:////var/lib/{values('StateDirectory')[0]}/")
    assert_it_drains_within(values("TimeoutStopSec")[0], settings)
    assert values("LoadCredential")[0].startswith("identity-key:")
