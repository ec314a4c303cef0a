"""How long parts of a process are kept, and what people do not see of it: what arrives, and what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from strangler.config import promise
from strangler.policy.model import Kept, Redaction
from tests.config.scene import errors, load, load_route, one_route


def test_parts_are_kept_as_long_as_the_process_unless_said_otherwise(tmp_path: Path) -> None:
    assert load_route(tmp_path, "process: {retain: 2d}").process.kept == Kept(172_800_000, None, None, None)
    keys = "process: {retain: 2d, retain_bodies: 1h, retain_history: 2d, retain_deliveries: 1s}"
    assert load_route(tmp_path, keys).process.kept == Kept(172_800_000, 3_600_000, 172_800_000, 1_000)


@pytest.mark.parametrize("key", ["retain_bodies", "retain_history", "retain_deliveries"])
def test_no_part_is_kept_longer_than_the_process(tmp_path: Path, key: str) -> None:
    (found,) = errors(tmp_path, one_route(f"process: {{retain: 1d, {key}: 25h}}"))
    assert found.endswith(f"process.{key}: expected at most retain (1d)")
    (found,) = errors(tmp_path, one_route(f"process: {{{key}: 0s}}"))
    assert f"process.{key}: expected a duration" in found


@pytest.mark.parametrize("key", ["retain_bodies", "retain_history", "retain_deliveries"])
def test_they_stand_under_process_and_nowhere_else(tmp_path: Path, key: str) -> None:
    (found,) = errors(tmp_path, one_route(f"{key}: 1d"))
    assert "unknown key" in found


def test_what_is_hidden_arrives_and_is_promised(tmp_path: Path) -> None:
    loaded = load(tmp_path, one_route("redact: {headers: [X-Ssn], pointers: ['', /a~1b/~0, '/items/*/price']}"))
    route = loaded.table.routes["claims"]
    hidden = Redaction(frozenset({"x-ssn"}), frozenset({"", "/a~1b/~0", "/items/*/price"}))
    assert route.promise.redact == hidden
    kept = promise.read(route.promise.digest, loaded.promises[route.promise.digest])
    assert kept.redact == hidden


def test_without_a_word_nothing_is_hidden_and_a_promise_is_what_it_always_was(tmp_path: Path) -> None:
    loaded = load(tmp_path, one_route())
    route = loaded.table.routes["claims"]
    assert not route.promise.redact
    assert "redact" not in loaded.promises[route.promise.digest]
    assert "retain_bodies" not in loaded.promises[route.promise.digest]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("redact: {pointers: [insured]}", "redact.pointers[0]: expected a JSON Pointer, such as /insured/iban"),
        ("redact: {pointers: ['/a~2']}", "redact.pointers[0]: expected a JSON Pointer"),
        ("redact: {headers: ['X Ssn']}", "redact.headers[0]: expected"),
        ("redact: {bodies: []}", "redact.bodies: unknown key"),
    ],
)
def test_what_is_wrong_with_redact_is_said_at_its_place(tmp_path: Path, keys: str, said: str) -> None:
    (found,) = errors(tmp_path, one_route(keys))
    assert said in found
