"""Which way a request goes."""

from __future__ import annotations

import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from strangler.config.load import load_policy
from strangler.domain.exchange import Answer, Header
from strangler.gateway.cors import Cors
from strangler.gateway.switch import Switch
from strangler.policy.match import ResourcePath, compile_table
from strangler.policy.trust import NOBODY, TrustedNetworks
from strangler.ports import Handle, Passthrough
from tests.engine.world import Silent, World, a_request
from tests.gateway.test_recording import recording_of

POLICY = """
upstreams:
  claims: {url: "http://127.0.0.1:8081"}
routes:
  - {name: submit, match: {path: /claims, methods: [POST]}, upstream: claims, mode: async}
  - {name: read, match: {path: /claims, methods: [GET]}, upstream: claims, deprecation: {since: 2025-01-01}}
  - name: some
    match: {path: /some}
    upstream: claims
    rollout: {mode: async, percent: 0, include: ["Bearer pilot-*"]}
"""
ID = "01a3185c-5000-7000-8000-000000000001"


async def served(request: object, path: ResourcePath) -> Answer:
    return Answer(200, [], b"resource")


@pytest.fixture
def switch(tmp_path: Path) -> Switch:
    return a_switch(tmp_path, POLICY)


def a_switch(
    folder: Path,
    policy: str,
    remembered: frozenset[str] = frozenset(),
    world: World | None = None,
    trusted: TrustedNetworks = NOBODY,
) -> Switch:
    file = folder / "routes.yaml"
    file.write_text(policy)
    table = load_policy([file], {}).table
    world = world or World()
    recording: Any = recording_of(world)
    switch = Switch(recording, served, Cors(), world.admission, Silent(), trusted)  # type: ignore[arg-type]
    switch.load(table, compile_table(table), remembered)
    return switch


def test_a_rollout_by_address_tells_apart_the_clients_of_a_proxy_that_is_trusted(tmp_path: Path) -> None:
    policy = POLICY.replace('include: ["Bearer pilot-*"]', 'by: address, include: ["198.51.100.*"]')
    pilot = (b"X-Forwarded-For", b"198.51.100.1")
    assert isinstance(way(a_switch(tmp_path, policy), "GET", b"/some", pilot), Passthrough)
    switch = a_switch(tmp_path, policy, trusted=TrustedNetworks([ip_network("192.0.2.0/24")]))
    assert isinstance(way(switch, "GET", b"/some", pilot), Handle)
    assert isinstance(way(switch, "GET", b"/some", (b"X-Forwarded-For", b"203.0.113.1")), Passthrough)
    assert isinstance(way(switch, "GET", b"/some"), Passthrough)


def way(switch: Switch, method: str, target: bytes, *headers: Header) -> Any:
    return switch.direct(a_request(None, method=method, target=target, headers=headers))


def test_before_a_policy_is_in_force_nothing_is_taken() -> None:
    world = World()
    switch = Switch(recording_of(world), served, Cors(), world.admission, Silent())  # type: ignore[arg-type]
    assert way(switch, "GET", b"/claims").status == 503


@pytest.mark.parametrize("path", [f"/processes/{ID}", f"/processes/{ID}/status", "/processes"])
async def test_process_resources_come_before_every_route(switch: Switch, path: str) -> None:
    direction = way(switch, "GET", path.encode())
    assert isinstance(direction, Handle)
    assert direction.passthrough is None
    answer = await direction.respond(a_request(None))
    assert isinstance(answer, Answer)
    assert answer.body == b"resource"


ON_ITS_OWN_PATH = """
upstreams:
  claims: {url: "http://127.0.0.1:8081"}
routes:
  - {name: submit, match: {path: /claims, methods: [POST]}, upstream: claims, mode: async, process: {resource: /claims}}
  - {name: replace, match: {path: /claims, methods: [PUT]}, upstream: claims}
default: {upstream: claims}
"""


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/claims", ""),
        ("HEAD", "/claims/events", ""),
        ("PUT", f"/claims/{ID}", ""),
        ("POST", "/claims", "submit"),
        ("PUT", "/claims", "replace"),
        ("DELETE", "/claims", "default"),
        ("POST", "/claims/events", "default"),
    ],
)
def test_what_a_collection_is_not_read_by_is_for_the_routes(tmp_path: Path, method: str, path: str, route: str) -> None:
    assert way(a_switch(tmp_path, ON_ITS_OWN_PATH), method, path.encode()).route == route


def test_a_recorded_route_is_handled_and_knows_where_it_would_pass_on_to(switch: Switch) -> None:
    direction = way(switch, "POST", b"/claims")
    assert isinstance(direction, Handle)
    assert direction.route == "submit"
    assert direction.passthrough is not None
    assert direction.passthrough.upstream.name == "claims"


@pytest.mark.parametrize(
    ("more", "wish", "begun"),
    [
        ("", b"", True),
        ("", b"respond-async", True),
        ("", b"wait=5", False),
        ("wait: 5s", b"", False),
        ("cors: {origins: ['https://app.example']}", b"", False),
        ("accept: {enforce: report}", b"", False),
        ("access: {authorize: {path: /may}}", b"", False),
    ],
)
def test_what_is_told_202_at_once_can_be_begun_without_a_task(
    tmp_path: Path, more: str, wish: bytes, begun: bool
) -> None:
    route = "{name: submit, match: {path: /claims, methods: [POST]}, upstream: claims, mode: async}"
    policy = POLICY.replace(route, f"{route[:-1]}, {more}}}" if more else route)
    direction = way(a_switch(tmp_path, policy), "POST", b"/claims", *([(b"Prefer", wish)] if wish else []))
    assert (direction.begin is not None) is begun


def test_a_passthrough_route_goes_through_with_what_the_policy_adds(switch: Switch) -> None:
    direction = way(switch, "GET", b"/claims")
    assert isinstance(direction, Passthrough)
    assert (direction.route, [name for name, _ in direction.add_headers]) == ("read", [b"Deprecation"])


def test_what_no_route_serves_is_404_without_a_default_and_goes_through_with_one(
    switch: Switch, tmp_path: Path
) -> None:
    assert json.loads(way(switch, "GET", b"/else").body)["code"] == "no-route"
    direction = way(a_switch(tmp_path, POLICY + "default: {upstream: claims}\n"), "GET", b"/else")
    assert isinstance(direction, Passthrough)
    assert direction.route == "default"


def test_a_target_of_two_readings_is_refused_where_one_of_them_is_recorded(switch: Switch) -> None:
    answer = way(switch, "POST", b"/x/../claims")
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "ambiguous-target")


UNCLEAR = """
upstreams:
  claims: {url: "http://127.0.0.1:8081"}
routes:
  - name: submit
    match: {path: "/claims/{id}", methods: [POST]}
    upstream: claims
    mode: async
    FORM
"""


@pytest.mark.parametrize(
    ("form", "kind", "status"),
    [
        ("", b"application/problem+json", 400),
        ("errors: soap11", b"text/xml; charset=utf-8", 500),
        ("errors: text", b"text/plain; charset=utf-8", 400),
        ("cors: {origins: ['https://app.example']}", b"application/problem+json", 400),
    ],
)
@pytest.mark.parametrize("path", [b"/claims/%zz", b"/claims/a%00b"])
async def test_a_path_that_is_not_clear_is_refused_as_its_route_refuses(
    tmp_path: Path, form: str, kind: bytes, status: int, path: bytes
) -> None:
    world = World()
    world.instrument.access_log = "all"
    switch = a_switch(tmp_path, UNCLEAR.replace("FORM", form), world=world)
    headers = [(b"X-Correlation-ID", b"c-1"), ASKS[0]]
    request = a_request(None, method="POST", target=path, headers=headers)
    direction = switch.direct(request)
    assert isinstance(direction, Handle)
    assert (direction.route, direction.begin) == ("submit", None)
    answer = await direction.respond(request)
    assert isinstance(answer, Answer)
    assert isinstance(answer.body, bytes)
    fields = dict(answer.headers)
    assert (answer.status, fields[b"Content-Type"], fields[b"X-Correlation-ID"]) == (status, kind, b"c-1")
    assert b"ambiguous-target" in answer.body
    assert (b"Access-Control-Allow-Origin" in fields) is form.startswith("cors")
    refused, (fact, values) = world.instrument.told
    assert refused == ("refused", ("submit", "ambiguous-target"))
    assert (fact, values[1:3], values[-1]) == ("answered", ("submit", status), "ambiguous-target")
    assert not world.upstream.sent


def test_a_rollout_goes_by_what_the_caller_presents(switch: Switch) -> None:
    assert isinstance(way(switch, "GET", b"/some", (b"Authorization", b"Bearer pilot-7")), Handle)
    assert isinstance(way(switch, "GET", b"/some", (b"Authorization", b"Bearer other")), Passthrough)
    assert isinstance(way(switch, "GET", b"/some"), Passthrough)


def test_a_route_that_went_back_looks_at_keys_only_where_processes_are_remembered(tmp_path: Path) -> None:
    key = (b"Idempotency-Key", b"k-1")
    back = POLICY.replace("mode: async}", "mode: passthrough}", 1)
    assert isinstance(way(a_switch(tmp_path, back), "POST", b"/claims", key), Passthrough)
    remembering = a_switch(tmp_path, back, frozenset({"submit"}))
    assert isinstance(way(remembering, "POST", b"/claims", key), Handle)
    assert isinstance(way(remembering, "POST", b"/claims"), Passthrough)


def test_only_where_nothing_but_the_head_counts_does_the_same_head_go_the_same_way(tmp_path: Path) -> None:
    policy = POLICY + "default: {upstream: claims}\n"
    switch = a_switch(tmp_path, policy)
    assert way(switch, "GET", b"/else").validity is not None
    assert way(switch, "GET", b"/claims").validity is not None
    assert way(switch, "GET", b"/some").validity is None, "a share of its clients is recorded"
    back = policy.replace("mode: async}", "mode: passthrough}", 1)
    assert way(a_switch(tmp_path, back), "POST", b"/claims").validity is not None
    assert way(a_switch(tmp_path, back, frozenset({"submit"})), "POST", b"/claims").validity is None


def test_once_another_policy_is_in_force_no_request_goes_by_the_one_before(tmp_path: Path) -> None:
    switch = a_switch(tmp_path, POLICY + "default: {upstream: claims}\n")
    before = [way(switch, "GET", path).validity for path in (b"/else", b"/claims")]
    assert not any(validity.over for validity in before)
    table = load_policy([tmp_path / "routes.yaml"], {}).table
    switch.load(table, compile_table(table), ())
    assert all(validity.over for validity in before)
    assert not way(switch, "GET", b"/else").validity.over


SHARING = POLICY.replace("mode: async}", "mode: async, cors: {origins: ['https://app.example']}}", 1)
ASKS = ((b"Origin", b"https://app.example"), (b"Access-Control-Request-Method", b"POST"))


def test_a_preflight_is_answered_where_the_policy_shares_and_goes_through_where_it_does_not(tmp_path: Path) -> None:
    assert way(a_switch(tmp_path, SHARING), "OPTIONS", b"/claims", *ASKS).status == 204
    direction = way(a_switch(tmp_path, POLICY + "default: {upstream: claims}\n"), "OPTIONS", b"/claims", *ASKS)
    assert isinstance(direction, Passthrough)


@pytest.mark.parametrize(("method", "path"), [("GET", f"/processes/{ID}/status"), ("POST", "/claims")])
async def test_answers_of_ours_bear_what_lets_a_page_read_them(tmp_path: Path, method: str, path: str) -> None:
    for policy, shared in ((SHARING, True), (POLICY, False)):
        direction = way(a_switch(tmp_path, policy), method, path.encode(), *ASKS)
        assert isinstance(direction, Handle)
        request = a_request(None, method=method, target=path.encode(), headers=ASKS)
        answer = await direction.respond(request)
        assert isinstance(answer, Answer)
        names = {name for name, _ in answer.headers}
        assert (b"Access-Control-Allow-Origin" in names) is shared
