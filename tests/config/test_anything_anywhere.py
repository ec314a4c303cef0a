"""Whatever stands wherever in a policy, it loads or says what is wrong and where."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from strangler.config.load import load_policy
from strangler.config.located import KeyPath, PolicyErrors

FULL = (Path(__file__).parent / "full.yaml").read_text()
"""Says something in nearly every section that there is."""

ODD = [
    *(None, True, -1, 10**30, float("nan"), "", "\x00", "a\r\nb", "*", "{a", "a[?b]", "(a+)+$", "/{a}/{a}"),
    *("0s", "http://[::1", "header:", "${env:X", "${enw:X}", "${file:/nowhere}"),
    *([], {}, [None], {"a": None}, {"": 1}, {"python": "no.module:x"}),
]


def places(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The key paths of all that is in a document."""
    if path:
        yield path
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield from places(member, (*path, key))


DOCUMENT = yaml.safe_load(FULL)
PLACES = list(places(DOCUMENT))


def with_value(path: KeyPath, value: Any) -> str:
    document = copy.deepcopy(DOCUMENT)
    parent = document
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = value
    return str(yaml.safe_dump(document))


def load(policy: Path, text: str, *, offline: bool = False) -> list[str]:
    """What is told of it; each error and note is located."""
    policy.write_text(text)
    try:
        found = [*load_policy([policy], {}, offline=offline).findings]
    except PolicyErrors as error:
        found = [*error.findings]
        assert found
    assert all(finding.place.line for finding in found), [str(finding) for finding in found]
    return [str(finding) for finding in found]


def test_the_policy_itself_loads(tmp_path: Path) -> None:
    assert [line for line in load(tmp_path / "policy.yaml", FULL) if "warning: " not in line] == []


def test_a_variable_that_is_not_there_is_told_wherever_it_stands(tmp_path: Path) -> None:
    for path in PLACES:
        told = load(tmp_path / "policy.yaml", with_value(path, "${env:MISSING}"))
        assert any("the environment has no MISSING" in line for line in told), path


def test_offline_a_variable_may_stand_anywhere(tmp_path: Path) -> None:
    for path in PLACES:
        load(tmp_path / "policy.yaml", with_value(path, "${env:MISSING}"), offline=True)


def test_whatever_stands_wherever_is_told_with_its_place(tmp_path: Path) -> None:
    for number, path in enumerate(PLACES):
        for value in (ODD[number % len(ODD)], ODD[number * 7 % len(ODD)]):
            load(tmp_path / "policy.yaml", with_value(path, value))
