"""`call.probe`: what arrives of it, what is wrong with it, and what is unwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from strangler.config.load import Loaded
from strangler.policy.model import ProbePolicy
from tests.config.scene import UPSTREAM, advice, errors, load, one_route

LEAST = "call: {on_in_doubt: probe, probe: {path: '/claims/{process.id}', applied: {status: 200}}}"
TWO = UPSTREAM + '  ledger: {url: "http://127.0.0.1:8082/base"}\n'


def probe(loaded: Loaded) -> ProbePolicy:
    found = loaded.table.routes["claims"].call.probe
    assert found is not None
    return found


def test_little_is_enough_and_the_rest_has_defaults(tmp_path: Path) -> None:
    loaded = load(tmp_path, one_route(LEAST))
    found = probe(loaded)
    assert loaded.table.routes["claims"].promise.on_in_doubt == "probe"
    assert (found.method, found.upstream, found.timeout, found.attempts, found.backoff) == ("GET", None, 10.0, 5, 30.0)
    assert (found.absent, found.result, found.set_headers) == (None, None, ())
    assert found.applied.names_statuses


def test_every_key_of_it_arrives(tmp_path: Path) -> None:
    keys = """
        call:
          on_in_doubt: probe
          probe:
            method: HEAD
            path: "/claims/{body.number}?by={process.correlationId}"
            upstream: ledger
            headers: {set: {X-Asked-By: strangler}}
            timeout: 3s
            applied: {status: 200, body: found}
            absent: {status: 404}
            result: {status: 201, body: {number: reply.body.id, amount: body.amount}}
            attempts: 2
            backoff: 1s
    """
    upstreams = 'upstreams:\n  legacy: {url: "http://127.0.0.1:8081"}\n  ledger: {url: "http://127.0.0.1:8082/base"}\n'
    loaded = load(tmp_path, one_route(keys, upstream=upstreams))
    found = probe(loaded)
    assert found.template.path({"body": {"number": "a/1"}, "process": {"correlationId": "c"}}) == "/claims/a%2F1?by=c"
    assert found.upstream is not None
    assert (found.upstream.name, found.upstream.base_path) == ("ledger", "/base")
    assert (found.method, found.timeout, found.attempts, found.backoff) == ("HEAD", 3.0, 2, 1.0)
    assert found.set_headers == (("X-Asked-By", "strangler"),)
    assert found.absent is not None
    assert found.result is not None
    assert found.result.status == 201
    assert found.result.body is not None
    values = {"reply": {"body": {"id": 7}}, "body": {"amount": 12}}
    assert found.result.body.body(values) == b'{"number":7,"amount":12}'
    assert not [finding for finding in loaded.findings if "ledger" in str(finding)]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("call: {on_in_doubt: probe}", "call.on_in_doubt: expected call.probe, which says what the upstream is asked"),
        ("call: {probe: {path: /x}}", "call.probe.applied: this key is required"),
        ("call: {probe: {applied: {status: 200}}}", "call.probe.path: this key is required"),
        ("call: {probe: {path: x, applied: {status: 200}}}", "expected a path with {EXPR} in it: it begins with /"),
        ("call: {probe: {path: '/a b/{body.id}', applied: {status: 200}}}", "percent-encoded"),
        ("call: {probe: {path: '/a#b', applied: {status: 200}}}", "percent-encoded"),
        ("call: {probe: {path: '/{reply.body}', applied: {status: 200}}}", "begins with reply; it can begin with"),
        ("call: {probe: {path: '/{body', applied: {status: 200}}}", "the brace at character 2 is not closed"),
        ("call: {probe: {path: /x, applied: {}}}", "call.probe.applied: expected status, headers or body"),
        (
            "call: {probe: {path: /x, applied: {status: 200}, absent: {}}}",
            "call.probe.absent: expected status, headers",
        ),
        ("call: {probe: {path: /x, applied: {status: 200}, absent: {status: 200}}}", "an answer cannot say both"),
        ("call: {probe: {path: /x, applied: {body: 'a ||'}}}", "expected an expression (JMESPath)"),
        ("call: {probe: {path: /x, applied: {status: 200}, method: POST}}", "expected GET or HEAD"),
        ("call: {probe: {path: /x, applied: {status: 200}, upstream: ledger}}", "there is no upstream ledger"),
        ("call: {probe: {path: /x, applied: {status: 200}, attempts: 0}}", "expected a whole number of at least 1"),
        ("call: {probe: {path: /x, applied: {status: 200}, backoff: 0s}}", "call.probe.backoff: expected a duration"),
        ("call: {probe: {path: /x, applied: {status: 200}, headers: {set: {Host: x}}}}", "not the policy's to set"),
        ("call: {probe: {path: /x, applied: {status: 200}, result: {body: 'other.x'}}}", "begins with other"),
    ],
)
def test_what_is_wrong_with_it_is_said_at_its_place(tmp_path: Path, keys: str, said: str) -> None:
    assert any(said in line for line in errors(tmp_path, one_route(keys))), errors(tmp_path, one_route(keys))


def test_a_probe_that_never_lets_repeat_or_is_never_asked_is_unwise(tmp_path: Path) -> None:
    assert any("without absent a call is never repeated" in line for line in advice(tmp_path, one_route(LEAST)))
    whole = "probe: {path: '/c/{process.id}', applied: {status: 200}, absent: {status: 404}}"
    assert not [
        line for line in advice(tmp_path, one_route(f"call: {{on_in_doubt: probe, {whole}}}")) if "probe" in line
    ]
    assert any("on_in_doubt is not probe" in line for line in advice(tmp_path, one_route(f"call: {{{whole}}}")))
    same = "call: {on_in_doubt: probe, probe: {path: /all, applied: {status: 200}, absent: {status: 404}}}"
    assert any("asks the same of every process" in line for line in advice(tmp_path, one_route(same)))
