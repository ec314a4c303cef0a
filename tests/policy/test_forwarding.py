"""What the upstream is asked for, where the policy names another place than the client did."""

from __future__ import annotations

import pytest

from strangler.policy.forwarding import upstream_target
from strangler.policy.model import Rewrite
from strangler.policy.upstreams import Upstream


@pytest.mark.parametrize(
    ("target", "strip", "add", "base", "sent"),
    [
        (b"/a//b/../%2Fc?d", "", "", "", b"/a//b/../%2Fc?d"),
        (b"/claims/7?x=1", "/claims", "", "", b"/7?x=1"),
        (b"/claims", "/claims", "", "", b"/"),
        (b"/claims?x=1", "/claims", "", "", b"/?x=1"),
        (b"/claimsmen/7", "/claims", "", "", b"/claimsmen/7"),
        (b"/old/claims", "/claims", "", "", b"/old/claims"),
        (b"/claims", "", "/v2", "", b"/v2/claims"),
        (b"/claims/7", "/claims", "/v2", "", b"/v2/7"),
        (b"/claims?x=1", "/claims", "/v2", "", b"/v2?x=1"),
        (b"/claims", "", "", "/app", b"/app/claims"),
        (b"/claims/7", "/claims", "/v2", "/app", b"/app/v2/7"),
        (b"*", "/claims", "/v2", "/app", b"*"),
    ],
)
def test_prefix_and_base_path_are_what_changes_of_a_target(
    target: bytes, strip: str | None, add: str, base: str, sent: bytes
) -> None:
    upstream = Upstream(name="legacy", scheme="http", host="legacy", base_path=base)
    assert upstream_target(target, Rewrite(strip_prefix=strip, add_prefix=add), upstream) == sent
