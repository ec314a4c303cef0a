"""docs/operations.md says what the code does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from strangler.domain.delivery import Delivery, DeliveryAttempt, DeliveryState, Tried
from strangler.domain.exchange import AttemptOutcome
from strangler.domain.process import PublicState, State
from strangler.domain.transitions import Change
from strangler.operations import series
from strangler.operations.catalogue import FAMILIES
from strangler.operations.logs import CAPACITY
from tests.operations.desk_stage import a_desk
from tests.operations.samples import Heard, a_process, a_request, an_attempt

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "operations.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose first column is headed so."""
    lines = DOCUMENT.split(f"| {heading} |")[1].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_metric_is_in_the_table_as_it_is_in_the_code() -> None:
    assert table("name") == [
        [f"`{family.shown_name}`", family.kind, ", ".join(f"`{label}`" for label in family.labels), family.help]
        for family in FAMILIES
    ]


def test_the_values_of_labels_are_those_of_the_code() -> None:
    values = {row[0]: set(re.findall(r"`([^`]+)`", row[1])) for row in table("label")}
    assert values["`state`"] - {"strangler_processes", "strangler_ended_total"} == set(State)
    assert values["`outcome`"] == set(AttemptOutcome)
    assert values["`resource`"] == set(series.RESOURCES)
    assert values["`run`"] == set(series.RUNS)
    assert values["`status`"] == {"1xx", "5xx", "client_left", "other"} <= set(series.STATUS_CLASSES)
    assert f"`{series.NO_ROUTE}`" in DOCUMENT
    assert f"`{series.OTHER}`" in DOCUMENT
    assert f"beyond the first\n{series.MAX_ROUTES}." in DOCUMENT
    assert f"a queue of {CAPACITY:,} " in DOCUMENT


def test_every_line_has_the_fields_of_the_table_and_no_other() -> None:
    heard = Heard()
    process = a_process(caller_name="broker-a")
    doubted = process._replace(state=State.IN_DOUBT)
    with heard as telemetry:
        answered = {"decision": "async", "process": process, "sent": 1, "detail": "refused", "code": "wait-over"}
        telemetry.answered(a_request(), "submit-claim", 202, 0.1, **answered)
        ended = process._replace(effect="applied")
        telemetry.attempt_ended(ended, an_attempt(AttemptOutcome.INTERRUPTED, detail="cut"))
        telemetry.changed(Change(process, doubted, (), ()))
        telemetry.changed(Change(process, process._replace(state=State.EXPIRED), (), ()))
        telemetry.changed(Change(process, process._replace(state=State.PROCESSING), (), ()))
        delivery = Delivery(process.id, 3, 0, "broker-a", None, PublicState.COMPLETED, 0, DeliveryState.DEAD)
        line = DeliveryAttempt(process.id, 3, 0, 1, 0, 7, Tried.REFUSED, "192.0.2.1", 500, "odd")
        telemetry.delivery_tried(delivery, line, None)
        telemetry.late_reply(process, settled=True)
        telemetry.would_refuse("submit-claim", "invalid-request", "")
        telemetry.store_refuses("full")
        telemetry.store_refuses(None)
        telemetry.policy_loaded("beef", 1)
        telemetry.policy_refused("wrong")
        telemetry.reconciled("stopped", 5, 3, 3, {"opened": 1, "open": 1, "accepted": 1}, "too much")
        telemetry.failed("executor", ValueError())
        telemetry.note("odd", number=10**5000)
    told = {line["event"]: set(line) - {"at", "level", "event"} for line in heard.lines}
    written: dict[str, set[str]] = {}
    fields: set[str] = set()
    for row in table("event"):
        fields = fields if row[1] == "the same" else set(re.findall(r"`([^`]+)`", row[1]))
        written[row[0].strip("`")] = fields
    elsewhere = {"library", "lines_dropped"}  # test_logs.py
    assert {event: names for event, names in written.items() if event not in elsewhere} == told


def test_every_event_that_the_code_notes_is_in_the_document() -> None:
    noted = {
        call.args[0].value
        for file in (ROOT / "strangler").rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "attr", getattr(call.func, "id", "")) == "note"
        if call.args and isinstance(call.args[0], ast.Constant)
    }
    assert len(noted) > 30
    assert sorted(event for event in noted if f"`{event}`" not in DOCUMENT) == []


@pytest.fixture
async def served(tmp_path: Path) -> set[tuple[str, str]]:
    async with a_desk(tmp_path) as desk:
        return {(method.upper(), path) for path, operations in desk.api["paths"].items() for method in operations}


async def test_every_endpoint_is_in_the_table(served: set[tuple[str, str]]) -> None:
    assert {tuple(row[0].strip("`").split(" ")) for row in table("request")} == served
