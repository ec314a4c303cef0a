"""`check --offline`: what is not known here is a note, and nothing is said that may be due to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strangler.config.document import read_document
from strangler.config.load import Loaded
from strangler.config.located import PolicyErrors
from tests.config.scene import UPSTREAM, load, one_route
from tests.config.test_load import EVERY_KEY

UNKNOWN = "${env:NOT_HERE}"


def each_unknown(value: Any) -> Iterator[Any]:
    """The value with one text, number or truth value in it after the other left to a variable."""
    if not isinstance(value, dict | list):
        yield UNKNOWN
        return
    for step, below in value.items() if isinstance(value, dict) else enumerate(value):
        for changed in each_unknown(below):
            whole = value.copy()
            whole[step] = changed
            yield whole


def warnings(loaded: Loaded) -> set[tuple[str, str]]:
    return {(finding.path, finding.text) for finding in loaded.warnings}


@pytest.mark.slow
def test_no_value_that_is_not_known_is_an_error_or_a_warning(tmp_path: Path) -> None:
    policy = read_document(EVERY_KEY.encode(), "f").plain()
    unwise = warnings(load(tmp_path, EVERY_KEY, offline=True))
    count = 0
    for changed in each_unknown(policy):
        loaded = load(tmp_path, json.dumps(changed), offline=True)
        assert "the environment has no NOT_HERE" in [finding.text for finding in loaded.findings]
        assert warnings(loaded) <= unwise, changed
        count += 1
    assert count > 200


def of_two(first: str, second: str) -> str:
    return f"{UPSTREAM}routes:\n  - {{upstream: legacy, {first}}}\n  - {{upstream: legacy, {second}}}\n"


@pytest.mark.parametrize(
    "text",
    [
        of_two('name: a, match: {path: "${env:BASE}/claims"}', 'name: b, match: {path: "${env:BASE}/letters"}'),
        of_two(
            'name: a, match: {path: /a, hosts: ["${env:ONE}"]}', 'name: b, match: {path: /a, hosts: ["${env:TWO}"]}'
        ),
        of_two('name: a, match: {path: /a, methods: ["${env:ONE}"]}', "name: b, match: {path: /a, methods: [POST]}"),
        of_two('name: "${env:ONE}", match: {path: /a}', 'name: "${env:TWO}", match: {path: /b}'),
        of_two('name: a, match: {path: /a}, mode: "${env:MODE}", wait: 1s', 'name: b, match: {path: "${env:BASE}"}'),
        one_route('call: {on_in_doubt: retry, attempts: "${env:N}"}'),
        one_route('call: {settle: 70s, timeout: "${env:T}"}'),
        one_route('process: {retain: "${env:T}", retain_bodies: 60d}'),
        one_route('deprecation: {since: "${env:T}", sunset: 2001-01-01}'),
        one_route("accept: {over_max_body: passthrough}", mode="${env:MODE}"),
        one_route('outcome: [{when: {status: "${env:S}", body: "${env:B}"}, state: "${env:E}", reason: "${env:R}"}]'),
        UPSTREAM + 'default: {upstream: "${env:UPSTREAM}"}\n',
        'upstreams: {a: {url: "http://${env:HOST}:${env:PORT}/${env:BASE}"}}\ndefault: {upstream: a}\n',
        'upstreams: {a: {url: "${env:URL}", tls: {verify: true}}}\ndefault: {upstream: a}\n',
    ],
)
def test_what_may_be_due_to_what_is_not_known_is_not_said(tmp_path: Path, text: str) -> None:
    access = "route_defaults: {access: {identity: [tls:subject]}}\n"
    loaded = load(tmp_path, text + access, offline=True)
    assert {finding.level for finding in loaded.findings} == {"note"}, loaded.findings
    with pytest.raises(PolicyErrors):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('wait: "${env:W}", translate: {request: {body: "body["}}', "translate.request.body: expected an expression"),
        ('call: {timeout: "${env:T}", headers: {set: {Host: a}}}', "this header is not the policy's to set"),
        ('call: {headers: {set: {X-A: "${env:A}"}}, on_in_doubt: retry}', "expected attempts of at least 2"),
        ('call: {timeout: "${env:T}", atempts: 2}', "unknown key; did you mean attempts?"),
    ],
)
def test_what_is_wrong_all_the_same_is_said(tmp_path: Path, keys: str, said: str) -> None:
    text = f"{UPSTREAM}routes: [{{name: a, match: {{path: /a}}, upstream: legacy, mode: async, {keys}}}]\n"
    with pytest.raises(PolicyErrors, match=re.escape(said)):
        load(tmp_path, text, offline=True)
