"""What all tests have in common: their order, and that no property fails because the machine is busy."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What may not be kept beside the sources is kept here: a third of each program's start would be compiling."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        os.environ["PYTHONPYCACHEPREFIX"] = str(tmp_path_factory.mktemp("bytecode"))


def longest(item: pytest.Item) -> float:
    """Seconds that a test is given beyond what all have; 0 for most."""
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark is not None else 0.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that may take longest come first: begun last, they would be waited for while another core is idle."""
    items.sort(key=longest, reverse=True)
