"""`process.references`: from the policy to what is kept with a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from strangler.config import promise as promises
from strangler.config.load import load_policy
from tests.config.test_load_errors import errors, one_route


def test_references_are_compiled_and_come_back_with_the_promise(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        one_route("process: {references: {policy: body.policy, claim: reply.body.claim, public: [claim]}}")
    )
    loaded = load_policy([policy], {})
    [route] = loaded.table.routes.values()
    text = loaded.promises[route.promise.digest]
    for promise in (route.promise, promises.read(route.promise.digest, text)):
        assert promise.references is not None
        assert promise.references.sought.expressions == {"policy": "body.policy", "claim": "reply.body.claim"}
        assert list(promise.references.sought.paths) == list(route.match.paths)
        assert (promise.references.reads_request, promise.references.asks_reply) == (True, True)
        assert promise.process.public_references == ("claim",)


def test_a_promise_without_references_says_nothing_of_them(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(one_route(""))
    loaded = load_policy([policy], {})
    [route] = loaded.table.routes.values()
    assert route.promise.references is None
    assert "references" not in loaded.promises[route.promise.digest]


@pytest.mark.parametrize(
    ("references", "said"),
    [
        ("{policy: 'body.'}", "process.references.policy: not JMESPath"),
        ("{policy: response.body}", "process.references.policy: begins with response"),
        ("{policy: 7}", "process.references.policy: expected an expression (JMESPath) such as body.policyNumber"),
        ("{policy: body.a, public: [polcy]}", "process.references.public[0]: there is no reference of this name; "),
        ("{'no name': body.a}", "expected a name of letters, digits, dashes and underscores as the key"),
    ],
)
def test_wrong_references_are_told_with_their_place(tmp_path: Path, references: str, said: str) -> None:
    [found] = errors(tmp_path, one_route(f"process: {{references: {references}}}"))
    assert said in found
