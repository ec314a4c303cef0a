"""What is compiled does what the same modules do as they are: the suites of the wire, run over a compiled copy."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.deploy.material import ROOT

SUITES = ("domain", "engine", "front", "gateway", "policy", "upstream", "wire")
COMPILER = (sysconfig.get_config_var("CC") or "cc").split()[0]

EACH_IS_COMPILED = """
import importlib, sys
for path in sys.argv[1:]:
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    assert not module.__file__.endswith(".py"), module.__file__
"""

THROWN = "the (type, exc, tb) signature of throw() is deprecated"
"""What Python 3.12 and later says of the code that mypyc 2.4 makes of an `await`; it does what it is to do."""


def compiled_modules() -> list[str]:
    """The paths that `setup.py` names; it cannot be imported, it would build."""
    for statement in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "COMPILED":
            return list(ast.literal_eval(statement.value))
    raise AssertionError


def python(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python with that folder before all others."""
    command = [sys.executable, *arguments]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def run(folder: Path, *arguments: str, **environment: str) -> None:
    """The same where it has to go well."""
    done = python(folder, *arguments, **environment)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]


def test_what_is_to_be_compiled_is_there() -> None:
    assert [path for path in compiled_modules() if not (ROOT / path).is_file()] == []


def test_an_editable_installation_is_never_compiled(tmp_path: Path) -> None:
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    done = python(tmp_path, "setup.py", "editable_wheel", STRANGLER_COMPILE="1")
    assert done.returncode != 0
    assert done.stderr.splitlines() == [
        "STRANGLER_COMPILE: an editable installation would run what was compiled, whatever is edited"
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pyproject.toml", "setup.py"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_is_compiled_keeps_what_the_wire_promises(tmp_path: Path) -> None:
    if shutil.which(COMPILER) is None:
        pytest.skip(f"there is no C compiler {COMPILER}: nothing was compiled")
    for name in ("strangler", "tests", "docs", "deploy", "routes"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copy(ROOT / "setup.py", tmp_path)
    run(tmp_path, "setup.py", "build_ext", "--inplace", STRANGLER_COMPILE="1")
    run(tmp_path, "-c", EACH_IS_COMPILED, *compiled_modules())
    shutil.copy(ROOT / "pyproject.toml", tmp_path)  # the settings of pytest
    suites = (f"tests/{suite}" for suite in SUITES)
    run(tmp_path, "-m", "pytest", "-q", "-m", "not slow", "-W", f"ignore:{THROWN}:DeprecationWarning", *suites)
