"""On a machine that owns every address there is: what is reached, with the system's resolver and a real name server."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.channels.callbacks.spellings import ADDRESSES, LOOPBACK, PRIVATE, PUBLIC

_OWN_NETWORK = ["unshare", "--map-root-user", "--net", "--mount"]
_TOLD = "169.254.169.254 is where a cloud tells machines their secrets"


def _possible() -> bool:
    if not all(shutil.which(tool) for tool in ("unshare", "ip", "mount")):
        return False
    tried = subprocess.run([*_OWN_NETWORK, "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    return tried.returncode == 0


async def explored() -> dict[str, Any]:
    """What was found out there."""
    root = Path(__file__).parents[3]
    process = await asyncio.create_subprocess_exec(
        *_OWN_NETWORK,
        *(sys.executable, "-W", "error", "-m", "tests.channels.callbacks.island"),
        cwd=root,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    found: dict[str, Any] = json.loads(output)
    return found


@pytest.mark.skipif(not _possible(), reason="a network of one's own needs user namespaces, and ip of iproute2")
async def test_on_a_machine_that_is_the_whole_internet_nothing_private_is_reached() -> None:
    found = await explored()
    assert len(found["trap"]) == 7, "whoever is not judged gets everywhere"
    assert "169.254.169.254" in found["trap"]

    assert len(found["spellings"]) == len(LOOPBACK) + len(PRIVATE)
    assert [each for each in found["spellings"] if each[1][0] != "Forbidden"] == []
    assert found["spellings reached"] == []

    assert len(found["private names"]) == len(ADDRESSES)
    assert [each for each in found["private names"] if each[1][0] != "Forbidden"] == []
    assert found["private names reached"] == []

    assert {each[1][0] for each in found["public names"]} == {"Answered"}
    assert found["public names reached"] == PUBLIC

    assert found["turning"] == [["Answered", 200]] + [["Forbidden", _TOLD]] * 9
    assert found["turning reached"] == ["93.184.216.34"]
    assert found["alternating"] == [["Answered", 200], ["Forbidden", _TOLD]] * 10
    assert found["alternating reached"] == ["93.184.216.34"] * 10
    assert found["several"] == [["Answered", 200]] * 5
    assert found["several reached"] == ["93.184.216.34"] * 5
    assert found["alias"] == [["Forbidden", _TOLD]] * 3
    assert found["alias reached"] == []
    assert found["redirecting"] == [["Answered", 302]] * 3
    assert found["redirecting reached"] == ["1.1.1.1"] * 3

    assert found["failing"] == found["silent"] == [["Ours", "no name server answered"]]
    assert found["gone"] == [["Unreached", "its name has no address"]]
