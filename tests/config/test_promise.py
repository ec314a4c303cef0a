from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from strangler.config import promise
from strangler.domain.process import PublicState
from strangler.policy.model import AccessPolicy, ProcessPolicy, Promise
from tests.config.scene import load, one_route

PROCESS = ProcessPolicy(
    type="Claim", contract="azure", id_field="claimId", statuses={PublicState.COMPLETED: "GENEHMIGT ✓"}
)
ACCESS = AccessPolicy(identity=("header:X-Client",), read="anyone", cancel=None, name="header:X-Label")


PROMISE = Promise(digest="", route="claims", process=PROCESS, access=ACCESS, on_in_doubt="review", wait=2.5)


def test_a_promise_survives_as_text() -> None:
    digest, text = promise.write(PROMISE)
    assert promise.read(digest, text) == replace(PROMISE, digest=digest)


def test_the_digest_is_the_one_of_the_text_and_the_text_is_canonical() -> None:
    digest, text = promise.write(PROMISE)
    assert digest == hashlib.sha256(text.encode()).hexdigest()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_equal_promises_have_equal_digests_and_others_do_not() -> None:
    one = promise.write(PROMISE)
    assert one == promise.write(replace(PROMISE, digest="another"))
    others: list[dict[str, Any]] = [
        {"route": "other"},
        {"process": ProcessPolicy(type="Claim")},
        {"access": AccessPolicy()},
        {"on_in_doubt": "fail"},
        {"wait": 1.0},
    ]
    digests = {one[0], *(promise.write(replace(PROMISE, **other))[0] for other in others)}
    assert len(digests) == 6


def test_a_changed_text_is_refused() -> None:
    digest, text = promise.write(PROMISE)
    with pytest.raises(ValueError, match="has been changed"):
        promise.read(digest, text.replace("Claim", "Clam"))


@pytest.mark.parametrize(
    "change", [{"format": 9}, {"on_in_doubt": "guess"}, {"process": {"type": "x", "references": {}}}]
)
def test_a_text_of_a_later_version_is_refused(change: dict[str, object]) -> None:
    _, text = promise.write(PROMISE)
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
