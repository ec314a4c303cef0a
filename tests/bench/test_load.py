from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from bench.baselines import STATUS_DOCUMENT
from bench.load import Plan, Tally
from bench.machine import CORES, Program, get, load, on_core, python
from bench.report import Row, compared, table
from bench.subject import reading, submission
from tests.harness.waiting import free_port


def program(*command: str) -> Program:
    port = free_port()
    return Program("program", python(*(word.format(port=port) for word in command)), port, CORES[0])


def test_every_reply_is_counted_by_its_status() -> None:
    with program("bench.baselines", "answer", "{port}") as aiohttp:
        seen = load(aiohttp.port, [submission(), reading("/a")], connections=2, seconds=5, most=100, sample=100)
        assert seen.statuses == {"202": 50, "200": 50}
        assert seen.errors == 0
        assert set(seen.bodies) == {"{}", STATUS_DOCUMENT.decode()}
        assert 0 < seen.p50 <= seen.p99 <= seen.slowest
        assert aiohttp.peak() >= aiohttp.resident() > 10_000_000


def test_the_upstream_counts_what_came_and_what_it_answered() -> None:
    with program("bench.upstream", "{port}", "0") as upstream:
        seen = load(upstream.port, [submission()], connections=3, seconds=5, most=30)
        assert seen.statuses == {"200": 30}
        count = json.loads(get(f"http://127.0.0.1:{upstream.port}/-/count")[1])
        assert (count["received"], count["answered"]) == (30, 30)
        assert count["first_at"] >= seen.started_at


def test_a_server_that_does_not_answer_gives_no_figure() -> None:
    with program("bench.upstream", "{port}", "never") as upstream:
        seen = load(upstream.port, [submission()], connections=2, warm_up=0.1, seconds=0.2)
        assert (seen.counted, seen.replies) == (0, 0)
        assert json.loads(get(f"http://127.0.0.1:{upstream.port}/-/count")[1])["received"] == 2


def test_what_is_started_on_a_core_stays_there() -> None:
    with on_core(CORES[-1]), program("bench.upstream", "{port}", "0") as upstream:
        allowed = next(
            line
            for line in Path(f"/proc/{upstream.pid}/status").read_text().splitlines()
            if line.startswith("Cpus_allowed_list")
        )
    assert allowed.split()[1] == str(CORES[0])


def test_a_ratio_is_taken_round_by_round_and_held_against_its_target() -> None:
    row = compared("x", [50, 40, 90], [100, 100, 100], 0.5, "1 / 2 MiB")
    assert (row.ratio, row.met) == ("0.50", True)
    text = table("title", [row, Row("y", "SKIPPED", "nginx is not installed")])
    assert "50/s (40-90)" in text
    assert "met" in text
    assert "SKIPPED" in text


def test_a_rate_makes_each_request_wait_for_its_turn() -> None:
    plan = Plan(host="127.0.0.1", port=1, requests=[], rate=10.0)
    paced, free = Tally(plan), Tally(replace(plan, rate=0.0))
    waits = [paced.wait() for _ in range(5)]
    assert waits == sorted(waits)
    assert waits[-1] > waits[0]
    assert [free.wait() for _ in range(3)] == [0.0, 0.0, 0.0]
