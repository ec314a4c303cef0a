"""`limits` and `call.circuit`: what arrives of them, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from strangler.policy.model import CircuitPolicy, Limits, Rate
from tests.config.scene import errors, load, one_route


def test_without_them_nothing_is_limited_and_nothing_pauses(tmp_path: Path) -> None:
    route = load(tmp_path, one_route()).table.routes["claims"]
    assert route.limits == Limits()
    assert route.call.circuit is None


def test_limits_arrive_as_rates(tmp_path: Path) -> None:
    keys = "limits: {accepts: 100/min, polls: 10/s, by: 'header:X-Client-Id'}"
    found = load(tmp_path, one_route(keys)).table.routes["claims"].limits
    assert found == Limits(accepts=Rate(100, 60.0), polls=Rate(10, 1.0), by="header:X-Client-Id")


@pytest.mark.parametrize(("text", "rate"), [("5000/h", Rate(5000, 3600.0)), ("20000/d", Rate(20000, 86400.0))])
def test_a_rate_may_be_per_hour_or_day(tmp_path: Path, text: str, rate: Rate) -> None:
    found = load(tmp_path, one_route(f"limits: {{accepts: {text}}}")).table.routes["claims"].limits
    assert (found.accepts, found.polls, found.by) == (rate, None, "caller")


def test_an_empty_circuit_has_its_defaults(tmp_path: Path) -> None:
    found = load(tmp_path, one_route("call: {circuit: {}}")).table.routes["claims"].call.circuit
    assert found == CircuitPolicy(failures=5, within=30.0, open=30.0)


def test_every_key_of_a_circuit_arrives(tmp_path: Path) -> None:
    keys = "call: {circuit: {failures: 3, within: 1m, open: 5s}}"
    found = load(tmp_path, one_route(keys)).table.routes["claims"].call.circuit
    assert found == CircuitPolicy(failures=3, within=60.0, open=5.0)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("limits: {accepts: 100}", "limits.accepts: expected a rate such as 10/s"),
        ("limits: {accepts: 0/s}", "limits.accepts: expected a rate such as 10/s"),
        ("limits: {polls: 10/week}", "limits.polls: expected a rate such as 10/s"),
        ("limits: {by: cookie:sid}", "limits.by: expected caller, address or header:NAME"),
        ("limits: {accept: 10/s}", "limits.accept: unknown key"),
        ("call: {circuit: {failures: 0}}", "call.circuit.failures: expected a whole number from 1 to 1000"),
        ("call: {circuit: {open: 0s}}", "call.circuit.open: expected a duration"),
        ("call: {circuit: on}", "call.circuit: expected a mapping, or off"),
    ],
)
def test_what_is_wrong_with_them_is_said(tmp_path: Path, keys: str, said: str) -> None:
    assert any(said in line for line in errors(tmp_path, one_route(keys))), errors(tmp_path, one_route(keys))
