from tests.harness.stage import pytest_runtest_makereport, stage
from tests.runtime.crew import crew

__all__ = ["crew", "pytest_runtest_makereport", "stage"]
