"""The command line of the exception queue and of reconciliation, against a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from strangler.cli import main
from tests.operations.desk_stage import Desk, a_desk
from tests.operations.test_review import doubted, tamper


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as desk:
        yield desk


class Shell:
    """Somebody at the machine of the server."""

    def __init__(self, desk: Desk, capture: pytest.CaptureFixture[str]) -> None:
        self._desk = desk
        self._capture = capture

    async def __call__(self, *words: str | int) -> tuple[int, str]:
        """The exit code, and what was said."""
        code, out, err = await self.apart(*words)
        return code, out + err

    async def apart(self, *words: str | int) -> tuple[int, str, str]:
        """The exit code, what was said, and what was said of errors."""
        self._capture.readouterr()
        code = await asyncio.to_thread(main, [*map(str, words), "--store", self._desk.store_url])
        return code, *self._capture.readouterr()


@pytest.fixture
def shell(desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.delenv("STRANGLER_OPS", raising=False)
    monkeypatch.delenv("STRANGLER_OPS_TOKEN", raising=False)
    return Shell(desk, capsys)


async def test_the_queue_is_listed_shown_taken_noted_and_resolved(desk: Desk, shell: Shell) -> None:
    process_id, number = await doubted(desk)
    code, said = await shell("exceptions", "list", "--kind", "in_doubt,orphan")
    assert code == 0
    assert f"{number}   in_doubt" in said
    assert process_id in said
    assert "in 3h" in said
    assert said.endswith("open: 1 in_doubt\n")
    assert (await shell("exceptions", "claim", number))[0] == 0
    assert (await shell("exceptions", "note", number, "called them"))[0] == 0
    assert (await shell("exceptions", "release", number, "--why", "lunch"))[0] == 0
    code, said = await shell("exceptions", "show", number)
    assert "complete, reject, fail, repeat" in said
    assert "called them" in said
    code, said = await shell(
        *("exceptions", "resolve", number, "--as", "completed", "--status", "PAID", "--reason", "see letter"),
        *("--evidence", "register", "--why", "it is there"),
    )
    assert (code, said) == (0, f"{number} is closed (in_doubt, complete)\n")
    process = (await desk.get(f"/processes/{process_id}")).document
    assert (process["state"], process["status"], process["reason"]) == ("completed", "PAID", "see letter")
    code, said = await shell("exceptions", "show", number)
    assert "it is there" in said
    assert (await shell("exceptions", "list"))[1].endswith("open: none\n")
    code, said = await shell("exceptions", "list", "--state", "closed", "--json")
    assert [one["id"] for one in json.loads(said)["exceptions"]] == [number]


async def test_many_are_resolved_by_what_they_have_in_common_and_what_is_refused_stays_open(
    desk: Desk, shell: Shell
) -> None:
    numbers = [(await doubted(desk))[1] for _ in range(3)]
    code, said = await shell("exceptions", "resolve", "--kind", "in_doubt", "--accept", "--why", "too many")
    assert code == 1
    assert "0 closed, 3 refused" in said
    code, said = await shell("exceptions", "resolve", "--route", "submit-claim", "--as", "failed", "--why", "outage")
    assert code == 0
    assert [line for line in said.splitlines() if "closed (" in line] == [
        f"{number} is closed (in_doubt, fail)" for number in numbers
    ]
    assert "3 closed, 0 refused" in said


async def test_several_are_taken_and_given_back_whatever_becomes_of_one_of_them(desk: Desk, shell: Shell) -> None:
    numbers = [(await doubted(desk))[1] for _ in range(2)]
    code, out, err = await shell.apart("exceptions", "claim", numbers[0], 4711, numbers[1])
    assert (code, err) == (1, "")
    first, refused, second, sums = out.splitlines()
    assert first.startswith(f"{numbers[0]} is looked after by ")
    assert refused.startswith("4711 is not: no-such-exception: ")
    assert second.startswith(f"{numbers[1]} is looked after by ")
    assert sums == "2 done, 1 refused"
    code, out, _ = await shell.apart("exceptions", "release", 4711, *numbers, "--why", "lunch")
    assert (code, out.splitlines()[1:]) == (
        1,
        [f"{numbers[0]} is nobody's", f"{numbers[1]} is nobody's", "2 done, 1 refused"],
    )
    assert (await shell("exceptions", "claim", *numbers))[0] == 0
    code, out, err = await shell.apart("exceptions", "claim", 4711)
    assert (code, out) == (1, "")
    assert "no-such-exception" in err


async def test_where_nobody_answers_that_is_told_once(shell: Shell) -> None:
    code, out, err = await shell.apart("exceptions", "claim", 1, 2, "--ops", "unix:/nowhere")
    assert (code, out, err.count("nobody answers")) == (1, "", 1)


@pytest.mark.parametrize(
    "words",
    [
        ("exceptions", "resolve", "--accept", "--why", "x"),
        ("exceptions", "resolve", "1", "--kind", "expired", "--accept", "--why", "x"),
    ],
)
async def test_which_ones_are_meant_has_to_be_said_in_one_way(shell: Shell, words: Any) -> None:
    code, said = await shell(*words)
    assert code == 2
    assert "--kind" in said


async def test_a_process_is_resolved_and_repeated_by_its_id_or_url(desk: Desk, shell: Shell) -> None:
    process_id, _ = await doubted(desk)
    url = f"{desk.url}/claim-submissions/{process_id}/status"
    code, said = await shell("processes", "repeat", url, "--why", "no trace of it")
    assert (code, said) == (0, f"{process_id} is processing\n")
    await desk.settled(process_id)
    code, said = await shell("processes", "resolve", process_id, "--as", "rejected", "--why", "they say", "--json")
    assert (code, json.loads(said)["state"]) == (0, "rejected")
    code, said = await shell("processes", "resolve", process_id, "--as", "failed", "--why", "again")
    assert code == 1
    assert said.startswith("not-resolvable: it is rejected")


async def test_what_was_never_sent_is_resolved_once_its_route_is_on_hold(desk: Desk, shell: Shell) -> None:
    assert (await shell("routes", "hold", "submit-claim", "--why", "restored"))[0] == 0
    process_id = await desk.submit()
    words = ("--as", "completed", "--evidence", "register, 4711", "--why", "it is there")
    assert await shell("processes", "resolve", process_id, *words) == (0, f"{process_id} is completed\n")
    code, said = await shell("processes", "show", process_id)
    assert code == 0
    assert "evidence: operator\n" in said
    assert await shell("fsck") == (0, "1 process, all is well\n")


async def test_reconciliation_says_what_it_found_and_how_it_ended(desk: Desk, shell: Shell) -> None:
    assert await shell.apart("reconcile", "--report", "--json") == (
        1,
        "",
        "there was no run since the server started\n",
    )
    process_id = await desk.submit()
    await desk.settled(process_id)
    code, said = await shell("reconcile", "--bodies", "--why", "the disk was full")
    assert code == 0
    assert "1 of 1 processes; 0 findings" in said
    tamper(desk, "UPDATE process SET status = 'DENIED' WHERE id = ?", process_id)
    code, said = await shell("reconcile")
    assert code == 1
    assert "1 findings: 1 new, 0 open already" in said
    assert process_id in said
    code, said = await shell("reconcile", "--report", "--json")
    report = json.loads(said)
    assert (code, report["number"], report["codes"]) == (1, 2, {"row": 1})
    number = report["findings"][0]["exception"]
    assert (await shell("exceptions", "resolve", number, "--accept", "--why", "our own doing"))[0] == 0
    code, said = await shell("reconcile")
    assert code == 0
    assert "1 accepted as they are" in said
    tamper(desk, "UPDATE process SET status = NULL WHERE id = ?", process_id)
    assert (await shell("reconcile"))[0] == 0


async def test_a_server_that_is_not_there_is_told(shell: Shell, desk: Desk) -> None:
    await desk.server.drain()
    code, said = await shell("exceptions", "list", "--ops", "127.0.0.1:9")
    assert code == 1
    assert "nobody answers" in said
