from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from strangler.store import Store
from tests.store import builders as make
from tests.store.backends import BACKENDS
from tests.store.builders import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=list(BACKENDS))
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    """Each store in turn, empty."""
    opened = BACKENDS[request.param](tmp_path, clock)
    await make.promise(opened)
    yield opened
    await opened.close()
