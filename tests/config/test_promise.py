from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from strangler.config import promise
from strangler.domain.process import PublicState
from strangler.policy.model import AccessPolicy, ProcessPolicy
from tests.config.scene import load, one_route

PROCESS = ProcessPolicy(
    type="Claim", contract="azure", id_field="claimId", statuses={PublicState.COMPLETED: "GENEHMIGT ✓"}
)
ACCESS = AccessPolicy(identity=("header:X-Client",), read="anyone", cancel=None, name="header:X-Label")


def test_a_promise_survives_as_text() -> None:
    digest, text = promise.write("claims", PROCESS, ACCESS, "review", 2.5)
    kept = promise.read(digest, text)
    assert (kept.digest, kept.route, kept.on_in_doubt, kept.wait) == (digest, "claims", "review", 2.5)
    assert (kept.process, kept.access) == (PROCESS, ACCESS)


def test_the_digest_is_the_one_of_the_text_and_the_text_is_canonical() -> None:
    digest, text = promise.write("claims", PROCESS, ACCESS, "review", 2.5)
    assert digest == hashlib.sha256(text.encode()).hexdigest()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_equal_promises_have_equal_digests_and_others_do_not() -> None:
    one = promise.write("claims", PROCESS, ACCESS, "review", 0.0)
    assert one == promise.write("claims", PROCESS, ACCESS, "review", 0.0)
    digests = {
        one[0],
        promise.write("other", PROCESS, ACCESS, "review", 0.0)[0],
        promise.write("claims", ProcessPolicy(type="Claim"), ACCESS, "review", 0.0)[0],
        promise.write("claims", PROCESS, AccessPolicy(), "review", 0.0)[0],
        promise.write("claims", PROCESS, ACCESS, "fail", 0.0)[0],
        promise.write("claims", PROCESS, ACCESS, "review", 1.0)[0],
    }
    assert len(digests) == 6


def test_a_changed_text_is_refused() -> None:
    digest, text = promise.write("claims", PROCESS, ACCESS, "review", 0.0)
    with pytest.raises(ValueError, match="has been changed"):
        promise.read(digest, text.replace("Claim", "Clam"))


@pytest.mark.parametrize(
    "change", [{"format": 9}, {"on_in_doubt": "guess"}, {"process": {"type": "x", "references": {}}}]
)
def test_a_text_of_a_later_version_is_refused(change: dict[str, object]) -> None:
    _, text = promise.write("claims", PROCESS, ACCESS, "review", 0.0)
    later = json.dumps({**json.loads(text), **change})
    with pytest.raises(ValueError, match="a later version"):
        promise.read(hashlib.sha256(later.encode()).hexdigest(), later)


def test_every_route_has_a_promise_and_its_text_is_given_to_be_kept(tmp_path: Path) -> None:
    loaded = load(tmp_path, one_route("process: {type: Claim}\nwait: 2s\naccess: {read: anyone}"))
    route = loaded.table.routes["claims"]
    assert promise.read(route.promise.digest, loaded.promises[route.promise.digest]) == route.promise
    assert (route.promise.process, route.promise.access, route.promise.wait) == (route.process, route.access, 2.0)


def test_how_others_are_reached_is_no_part_of_a_promise(tmp_path: Path) -> None:
    one = load(tmp_path, one_route())
    other = load(
        tmp_path,
        one_route("call: {timeout: 9s, concurrency: 1, headers: {set: {X: '${secret-env:S}'}}}"),
        {"S": "s3cret"},
    )
    assert one.promises == other.promises
