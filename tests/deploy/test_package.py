"""What is installed from the package is all that the program needs: no tool of a developer fills a gap."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions

from tests.deploy.material import ROOT


def imported() -> Iterator[tuple[str, str]]:
    """Each module from outside that the program imports, and where."""
    for file in sorted((ROOT / "strangler").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                names = [node.module]
            else:
                continue
            for name in {name.partition(".")[0] for name in names}:
                if name != "strangler" and name not in sys.stdlib_module_names:
                    yield name, str(file.relative_to(ROOT))


def normal(name: str) -> str:
    """The name of a distribution as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_what_the_program_imports_is_what_its_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {normal(re.match(r"[\w.-]+", requirement)[0]) for requirement in project["dependencies"]}  # type: ignore[index]
    providers = packages_distributions()
    missing = {
        f"{name}, imported in {file}"
        for name, file in imported()
        if not asked & {normal(distribution) for distribution in providers.get(name, [name])}
    }
    assert not missing
