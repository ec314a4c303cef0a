"""What is in `deploy/`, and the programs that judge it."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from strangler.config.scalars import seconds, size
from strangler.config.settings import Settings, add_arguments, read_settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"

LAST_ANSWERS = 10.0
"""Seconds that an end takes beyond the drain, at the very most: last answers, closing the store."""


def tool(name: str) -> str:
    """The path of a program, of this environment or of the machine; without one the test is skipped."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed here: what it judges is NOT CHECKED")
    return found


def judged(*command: str | Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """What a validator says; its complaints fail the test."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


def document(path: str) -> Any:
    """A YAML file of `deploy/`."""
    return yaml.safe_load((DEPLOY / path).read_text())


def served(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[Settings, list[Path]]:
    """What `strangler serve` makes of these arguments and variables; a variable that it does not know is a mistake."""
    assert arguments[0] == "serve"
    parser = argparse.ArgumentParser()
    parser.add_argument("paths", nargs="+", type=Path)
    add_arguments(parser)
    parsed = parser.parse_args(arguments[1:])
    known = {f"STRANGLER_{name.upper()}" for name in vars(parsed)}
    assert {name for name in environment if name.startswith("STRANGLER_")} <= known
    return read_settings(parsed, environment), parsed.paths


def assert_it_drains_within(grace: str, settings: Settings, *, before: float = 0.0) -> None:
    """Nothing kills it while it drains: ``before`` seconds pass first, and some after the drain."""
    assert settings.drain_timeout is not None
    assert seconds(grace) >= before + settings.drain_timeout + LAST_ANSWERS


def assert_it_refuses_before_it_is_killed(limit: str, settings: Settings) -> None:
    """The workers stop taking work before the container's ``limit`` (``1g``, ``1Gi``) is reached."""
    assert 0 < settings.memory_limit * settings.workers < 0.9 * size(f"{limit[0]}GiB")
    assert limit[1:].lower() in ("g", "gi")
