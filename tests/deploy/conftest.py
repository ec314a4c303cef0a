from tests.harness.stage import pytest_runtest_makereport, stage

__all__ = ["pytest_runtest_makereport", "stage"]
