"""Golden cases: a policy, a request, a reply, and all that follows. The files in `cases/` are read like policies.

A case is `{name, request, sent, reply, …}`; what it does not name is not looked at. `request` is a body, or
`{method, target, headers, body, charset}`; `reply` likewise with `status`; what comes out is compared with `sent`
(`{method, target, headers, body}`), `refused`, `state`, `status`, `reason`, `effect`, `rule` and `result`
(`{status, headers, body}`). A body that is a mapping or a list is JSON, text is compared as it is, `bytes` is hex.
"""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from strangler.config.load import load_policy
from strangler.domain.exchange import Headers
from strangler.domain.outcome import InDoubt
from strangler.policy.model import Table
from strangler.runtime.trial import Message, Trial, attempt

CASES = Path(__file__).parent / "cases"
HEAD = """\
upstreams: {legacy: {url: "http://legacy.example:8081"}}
routes:
  - name: route
    match: {path: ["/claims", "/claims/{id}", "/rest/*"]}
    upstream: legacy
    mode: async
"""
STATES = {
    "Completed": "completed",
    "Rejected": "rejected",
    "Failed": "failed",
    "Retry": "retry",
    "Pending": "pending",
    "InDoubt": "in_doubt",
}


def cases() -> Iterator[Any]:
    for path in sorted(CASES.glob("*.yaml")):
        document = yaml.safe_load(path.read_text("utf-8"))
        for case in document["cases"]:
            yield pytest.param(path, document, case, id=f"{path.stem}: {case['name']}")


class Tables:
    """The policies of the cases, each loaded once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, Table] = {}

    def of(self, path: Path, document: Any, case: Any) -> Table:
        """The policy of a case: its own, else that of its file."""
        policy = case.get("policy", document.get("policy"))
        if policy not in self._loaded:
            self._loaded[policy] = loaded(self._folder, path, document, policy)
        return self._loaded[policy]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return Tables(tmp_path_factory.mktemp("cases"))


def loaded(folder: Path, path: Path, document: Any, policy: str) -> Table:
    for name, text in document.get("files", {}).items():
        (folder / name).write_text(text, "utf-8")
    written = folder / f"{path.stem}.yaml"
    written.write_text(HEAD + textwrap.indent(policy, "    "), "utf-8")
    return load_policy([written], {}).table


def message(given: Any, *, reply: bool) -> Message:
    if not isinstance(given, dict) or not given.keys() & {"body", "bytes", "headers", "target", "method", "status"}:
        given = {"body": given}
    body = given.get("body")
    charset = given.get("charset", "utf-8")
    data = bytes.fromhex(given["bytes"]) if "bytes" in given else encoded(body, charset)
    kind = "application/json" if isinstance(body, dict | list) else "text/xml" if str(body).startswith("<") else None
    headers = {"Host": "claims.example"} if not reply else {}
    if kind is not None:
        headers["Content-Type"] = kind
    headers |= given.get("headers", {})
    first = (
        str(given.get("status", 200)) if reply else f"{given.get('method', 'POST')} {given.get('target', '/claims')}"
    )
    return Message(first, [(k.encode(), str(v).encode("latin-1")) for k, v in headers.items() if v is not None], data)


def encoded(body: Any, charset: str) -> bytes:
    if body is None:
        return b""
    return (body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)).encode(charset)


def compare_message(found: Headers, data: bytes, expected: Any) -> None:
    for name, value in expected.get("headers", {}).items():
        values = [one.decode("latin-1") for key, one in found if key.decode().lower() == name.lower()]
        assert values == ([value] if value is not None else []), (name, found)
    if "bytes" in expected:
        assert data.hex() == expected["bytes"].replace(" ", "")
    if "body" in expected:
        body = expected["body"]
        if isinstance(body, dict | list):
            assert json.loads(data) == body
        else:
            assert data.decode(expected.get("charset", "utf-8")) == body


def compare(trial: Trial, case: Any) -> None:
    if "refused" in case:
        assert case["refused"] in (trial.refusal or "")
        return
    assert trial.refusal is None
    assert trial.sent is not None
    if "sent" in case:
        expected = case["sent"]
        assert trial.sent.method == expected.get("method", trial.sent.method)
        assert trial.sent.target.decode() == expected.get("target", trial.sent.target.decode())
        compare_message(trial.sent.headers, trial.sent.body.data or b"", expected)
    if "reply" not in case:
        return
    assert trial.process is not None
    outcome: Any = trial.outcome
    assert STATES[type(outcome).__name__] == case.get("state", "completed"), trial.rule
    if "status" in case:
        assert outcome.status == case["status"]
    if "reason" in case:
        assert outcome.reason == case["reason"]
    if "effect" in case:
        assert outcome.effect == case["effect"]
    if "rule" in case:
        assert trial.rule.startswith(case["rule"]) if isinstance(outcome, InDoubt) else trial.rule == case["rule"]
    if "because" in case:
        assert case["because"] in trial.rule
    if "result" in case:
        assert trial.reply is not None
        assert trial.reply.status == case["result"].get("status", trial.reply.status)
        compare_message(trial.reply.headers, trial.reply.body.data or b"", case["result"])


@pytest.mark.parametrize(("path", "document", "case"), list(cases()))
def test_a_golden_case(tables: Tables, path: Path, document: Any, case: Any) -> None:
    policy = tables.of(path, document, case)
    reply = message(case["reply"], reply=True) if "reply" in case else None
    compare(asyncio.run(attempt(policy, message(case.get("request"), reply=False), reply)), case)


def test_there_are_well_over_a_hundred() -> None:
    assert len(list(cases())) > 120
