"""The log of commands, over every store."""

from __future__ import annotations

from pathlib import Path

import pytest

from strangler.ports import AuditQuery, Command
from strangler.store import Store
from strangler.store.sqlite.library import choose_library
from tests.store import builders as make
from tests.store.backends import BACKENDS
from tests.store.builders import NOON, FakeClock

ONE, OTHER = make.make_id(), make.make_id()


def command(who: str = "alice", what: str = "cancelProcess", process_id: str | None = ONE, at: int = NOON) -> Command:
    return Command(at, who, what, f"/processes/{process_id}/cancel", "the customer withdrew it", process_id)


async def test_a_command_is_there_before_it_is_done_and_with_what_it_came_to(store: Store) -> None:
    number = await store.begin_command(command())
    [begun] = await store.commands(AuditQuery())
    assert (begun.number, begun.command, begun.ended_at, begun.outcome) == (number, command(), None, None)
    await store.end_command(number, NOON + 5, "not-cancellable", "it is with the legacy system")
    [ended] = await store.commands(AuditQuery())
    assert ended.command == command()
    assert (ended.ended_at, ended.outcome, ended.detail) == (
        NOON + 5,
        "not-cancellable",
        "it is with the legacy system",
    )


async def test_what_a_command_was_given_is_kept_with_it(store: Store) -> None:
    await store.begin_command(command()._replace(given='{"force":true}'))
    [begun] = await store.commands(AuditQuery())
    [again] = await store.commands(AuditQuery(process_id=ONE))
    assert begun == again
    assert begun.command.given == '{"force":true}'


async def test_what_a_command_came_to_is_recorded_once(store: Store) -> None:
    number = await store.begin_command(command())
    for at in (NOON + 5, NOON + 5, NOON + 6):
        await store.end_command(number, at, "done" if at == NOON + 5 else "internal-error", None)
    [ended] = await store.commands(AuditQuery())
    assert (ended.ended_at, ended.outcome) == (NOON + 5, "done")


async def test_commands_are_listed_latest_first_page_by_page(store: Store) -> None:
    numbers = [await store.begin_command(command(at=NOON + number)) for number in range(5)]
    first = await store.commands(AuditQuery(limit=2))
    second = await store.commands(AuditQuery(limit=2, before=first[-1].number))
    third = await store.commands(AuditQuery(limit=2, before=second[-1].number))
    assert [one.number for one in (*first, *second, *third)] == numbers[::-1]


async def test_commands_are_found_by_who_by_what_and_by_the_process(store: Store) -> None:
    first = await store.begin_command(command("alice", "cancelProcess", ONE))
    second = await store.begin_command(command("bob", "retryProcess", ONE))
    third = await store.begin_command(command("alice", "retryProcess", OTHER))
    fourth = await store.begin_command(command("alice", "drainInstance", None))
    for query, expected in (
        (AuditQuery(who="alice"), [fourth, third, first]),
        (AuditQuery(what="retryProcess"), [third, second]),
        (AuditQuery(process_id=ONE), [second, first]),
        (AuditQuery(process_id=ONE, who="bob"), [second]),
        (AuditQuery(process_id=ONE, before=second), [first]),
        (AuditQuery(process_id="no id"), []),
        (AuditQuery(who="nobody"), []),
    ):
        assert [one.number for one in await store.commands(query)] == expected, query


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE command SET who = 'mallory'",
        "DELETE FROM command",
        "UPDATE command_end SET outcome = 'done'",
        "DELETE FROM command_end",
    ],
)
async def test_nobody_changes_the_log_by_a_slip(tmp_path: Path, clock: FakeClock, statement: str) -> None:
    store = BACKENDS["sqlite"](tmp_path, clock)
    await store.end_command(await store.begin_command(command()), NOON, "done", None)
    await store.close()
    library = choose_library()
    connection = library.dbapi.connect(str(tmp_path / "strangler.db"))
    with pytest.raises(library.dbapi.IntegrityError):
        connection.execute(statement)
    connection.close()
