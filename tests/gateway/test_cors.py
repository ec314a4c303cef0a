"""What a browser lets pages of other origins do: preflights, the fields on answers, and what is left alone."""

from __future__ import annotations

import pytest

from strangler.domain.exchange import Answer, Header
from strangler.gateway.cors import Cors
from strangler.policy.cors import allows, trusts
from strangler.policy.match import compile_table
from strangler.policy.model import AccessPolicy, CorsPolicy, JwtPolicy, Match, Mode, ProcessPolicy, Table
from tests.gateway.scene import R, Scene, a_promise, a_request
from tests.gateway.sharing import a_route, shares

APP = b"https://app.example"
NAMED = CorsPolicy(origins=("https://app.example",), headers=("X-Tenant",), expose=("X-Total",))
ID = "01a3185c-5000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("entry", "origin", "named"),
    [
        ("https://app.example", "https://app.example", True),
        ("https://app.example", "http://app.example", False),
        ("https://app.example", "https://app.example:8443", False),
        ("https://app.example", "https://app.example.evil", False),
        ("https://app.example", "https://app.exampl", False),
        ("https://*.example.org", "https://a.example.org", True),
        ("https://*.example.org", "https://a.b.example.org", True),
        ("https://*.example.org", "https://example.org", False),
        ("https://*.example.org", "https://.example.org", False),
        ("https://*.example.org", "https://evilexample.org", False),
        ("https://*.example.org", "http://a.example.org", False),
        ("https://*.example.org", "http://abc.example.org", False),
        ("https://app.example", "https://app.example://evil.", False),
        ("https://*.example.org", "https://evil.com/a.example.org", False),
        ("https://*.example.org", "https://evil.com:1.example.org", False),
        ("https://*.example.org", "https://evil.com@a.example.org", False),
        ("https://*.example.org", "https://a.example.org:8443", False),
        ("https://*.example.org:8443", "https://a.example.org:8443", True),
        ("*", "https://app.example", False),
        ("*", "null", False),
    ],
)
def test_which_origins_an_entry_names(entry: str, origin: str, named: bool) -> None:
    policy = CorsPolicy(origins=(entry,))
    assert trusts(policy, origin.encode()) is named
    assert allows(policy, origin.encode()) is (named or entry == "*")


def test_each_entry_names_origins_by_itself() -> None:
    policy = CorsPolicy(origins=("https://app.example", "https://*.example.org"))
    assert trusts(policy, APP)
    assert trusts(policy, b"https://a.example.org")
    assert not trusts(policy, b"https://evil.example")


def preflight(cors: Cors, matcher: object, path: str, method: str, origin: bytes = APP) -> Answer | None:
    request = a_request("OPTIONS", path, (b"Origin", origin), (b"Access-Control-Request-Method", method.encode()))
    return cors.preflight(request, matcher)  # type: ignore[arg-type]


def fields(answer: Answer) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in answer.headers}


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/claims", "POST"),
        (R, "GET"),
        (f"{R}/events", "GET"),
        (f"{R}/{ID}", "DELETE"),
        (f"{R}/{ID}/status", "GET"),
        (f"{R}/{ID}/ticket", "POST"),
    ],
)
def test_a_preflight_is_answered_for_the_route_and_for_its_processes(path: str, method: str) -> None:
    cors = Cors()
    matcher = shares(cors, NAMED)
    answer = preflight(cors, matcher, path, method)
    assert answer is not None
    assert (answer.status, answer.body) == (204, b"")
    found = fields(answer)
    assert found["Access-Control-Allow-Origin"] == "https://app.example"
    assert found["Access-Control-Allow-Methods"] == method
    assert found["Access-Control-Max-Age"] == "600"
    assert found["Vary"] == "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    assert "Access-Control-Allow-Credentials" not in found
    allowed = found["Access-Control-Allow-Headers"].split(", ")
    assert {"Content-Type", "Prefer", "Idempotency-Key", "Authorization", "X-Api-Key", "X-Tenant"} <= set(allowed)
    assert len(allowed) == len(set(allowed))


@pytest.mark.parametrize(
    ("path", "method"), [("/claims", "GET"), ("/claims", "DELETE"), ("/elsewhere", "POST"), (R, "POST")]
)
def test_what_is_not_ours_is_for_the_legacy_system_to_say(path: str, method: str) -> None:
    cors = Cors()
    assert preflight(cors, shares(cors, NAMED), path, method) is None


def test_without_origins_and_on_what_passes_through_options_is_left_alone() -> None:
    cors = Cors()
    assert preflight(cors, shares(cors, CorsPolicy()), "/claims", "POST") is None
    assert preflight(cors, shares(cors, CorsPolicy(), NAMED), f"{R}/{ID}", "GET") is not None
    assert preflight(cors, shares(cors, NAMED, mode=Mode.PASSTHROUGH), "/claims", "POST") is None


@pytest.mark.parametrize(
    "headers",
    [(), ((b"Origin", APP),), ((b"Access-Control-Request-Method", b"POST"),)],
    ids=["none", "origin", "method"],
)
def test_options_that_are_no_preflight_are_left_alone(headers: tuple[Header, ...]) -> None:
    cors = Cors()
    matcher = shares(cors, NAMED)
    assert cors.preflight(a_request("OPTIONS", "/claims", *headers), matcher) is None
    asked = ((b"Origin", APP), (b"Access-Control-Request-Method", b"POST"))
    assert cors.preflight(a_request("POST", "/claims", *asked), matcher) is None


def test_a_page_of_another_origin_is_refused() -> None:
    cors = Cors()
    answer = preflight(cors, shares(cors, NAMED), "/claims", "POST", b"https://evil.example")
    assert answer is not None
    assert answer.status == 403
    assert not [name for name in fields(answer) if name.startswith("Access-Control")]
    assert fields(answer)["Vary"] == "Origin"


def test_everybody_is_welcome_without_cookies_and_by_name_with_them() -> None:
    cors = Cors()
    answer = preflight(cors, shares(cors, CorsPolicy(origins=("*",))), "/claims", "POST", b"https://any.example")
    assert answer is not None
    assert fields(answer)["Access-Control-Allow-Origin"] == "*"
    answer = preflight(cors, shares(cors, CorsPolicy(origins=("https://app.example",), credentials=True)), R, "GET")
    assert answer is not None
    assert fields(answer)["Access-Control-Allow-Origin"] == "https://app.example"
    assert fields(answer)["Access-Control-Allow-Credentials"] == "true"


def test_a_preflight_does_not_say_what_a_route_asks_for_in_header_fields() -> None:
    cors = Cors()
    match = Match(paths=("/claims",), methods=frozenset({"POST"}), headers={"x-version": "2"})
    assert preflight(cors, shares(cors, NAMED, match=match), "/claims", "POST") is None


def test_an_answer_about_a_process_bears_the_fields_for_pages_that_may_read_it() -> None:
    cors = Cors()
    shares(cors, NAMED, access=AccessPolicy(identity=("header:X-Who",)))
    legacy = [(b"access-control-allow-origin", b"https://old.example"), (b"Access-Control-Max-Age", b"1"), (b"A", b"b")]
    answer = Answer(200, [*legacy])
    cors.on_resource(a_request("GET", "/", (b"Origin", APP)), R, answer)
    found = fields(answer)
    assert found["Access-Control-Allow-Origin"] == "https://app.example"
    assert found["A"] == "b"
    assert found["Vary"] == "Origin"
    assert {"Location", "Retry-After", "Strangler-Process", "X-Total"} <= set(
        found["Access-Control-Expose-Headers"].split(", ")
    )
    assert "access-control-allow-origin" not in found
    assert "Access-Control-Max-Age" not in found


def test_pages_may_read_what_a_contract_tells_beside_the_rest() -> None:
    cors = Cors()
    shares(cors, NAMED, process=ProcessPolicy(type="t", resource=R, contract="azure"))
    answer = Answer(200)
    cors.on_resource(a_request("GET", "/", (b"Origin", APP)), R, answer)
    shown = set(fields(answer)["Access-Control-Expose-Headers"].split(", "))
    assert {"Operation-Location", "Azure-AsyncOperation", "Location"} <= shown


@pytest.mark.parametrize("headers", [(), ((b"Origin", b"https://evil.example"),)])
def test_others_learn_only_that_it_depends_on_the_origin(headers: tuple[Header, ...]) -> None:
    cors = Cors()
    shares(cors, NAMED)
    answer = Answer(200)
    cors.on_resource(a_request("GET", "/", *headers), R, answer)
    assert answer.headers == [(b"Vary", b"Origin")]


def test_a_legacy_reply_that_speaks_for_itself_is_left_as_it_is() -> None:
    cors = Cors()
    shares(cors, NAMED)
    request = a_request("POST", "/claims", (b"Origin", APP))
    replied = Answer(200, [(b"Access-Control-Allow-Origin", b"https://old.example")])
    cors.on_route(request, "submit-claim", replied)
    assert replied.headers == [(b"Access-Control-Allow-Origin", b"https://old.example")]
    accepted = Answer(202)
    cors.on_route(request, "submit-claim", accepted)
    assert fields(accepted)["Access-Control-Allow-Origin"] == "https://app.example"


def test_routes_without_it_and_other_resources_are_not_touched() -> None:
    cors = Cors()
    shares(cors, NAMED)
    answer = Answer(200)
    request = a_request("GET", "/", (b"Origin", APP))
    cors.on_resource(request, "/elsewhere", answer)
    cors.on_route(request, "another", answer)
    assert answer.headers == []
    assert not cors.serves("another")


def test_a_table_takes_effect_at_once() -> None:
    cors = Cors()
    shares(cors, NAMED)
    assert cors.trusts(R, APP)
    shares(cors, CorsPolicy())
    assert not cors.trusts(R, APP)
    assert not cors.serves("submit-claim")


def test_a_route_that_shares_nothing_is_left_alone_beside_one_that_does() -> None:
    cors = Cors()
    quiet = a_route(CorsPolicy(), name="quiet", match=Match(paths=("/quiet",)), resource="/quiet-processes")
    table = Table(revision="1", upstreams={}, routes={"submit-claim": a_route(NAMED), "quiet": quiet})
    cors.load(table)
    matcher = compile_table(table)
    assert preflight(cors, matcher, "/claims", "POST") is not None
    assert preflight(cors, matcher, "/quiet", "POST") is None
    assert preflight(cors, matcher, f"/quiet-processes/{ID}", "GET") is None


@pytest.mark.parametrize(("host", "served"), [(b"claims.example", True), (b"other.example", False)])
def test_a_preflight_for_a_process_is_answered_where_its_routes_are_served(host: bytes, served: bool) -> None:
    cors = Cors()
    matcher = shares(cors, NAMED, match=Match(paths=("/claims",), hosts=("claims.example",)))
    asked = ((b"Host", host), (b"Origin", APP), (b"Access-Control-Request-Method", b"GET"))
    assert (cors.preflight(a_request("OPTIONS", f"{R}/{ID}", *asked), matcher) is not None) is served


def test_a_page_may_send_only_such_marks_of_its_caller_as_are_header_fields() -> None:
    cors = Cors()
    access = AccessPolicy(identity=("header:X-Who", "cookie:session"))
    answer = preflight(cors, shares(cors, NAMED, access=access), "/claims", "POST")
    assert answer is not None
    taken = fields(answer)["Access-Control-Allow-Headers"].split(", ")
    assert "X-Who" in taken
    assert "session" not in taken


async def test_the_origin_of_the_base_and_those_named_may_cancel_with_a_cookie() -> None:
    cookie = (b"Cookie", b"sid=1")
    access = AccessPolicy(identity=("cookie:sid",))
    scene = Scene(a_promise(access))
    shares(scene.cors, NAMED)
    for origin, status in ((b"https://evil.example", 403), (APP, 200), (b"https://public.example", 200)):
        process = await scene.process(by=cookie)
        assert (await scene.ask("DELETE", process, "", cookie, (b"Origin", origin))).status == status


def test_a_page_may_send_the_token_that_is_verified() -> None:
    cors = Cors()
    matcher = shares(cors, NAMED, access=AccessPolicy(identity=("jwt:sub",), jwt=JwtPolicy(jwks="https://id.example/")))
    answer = preflight(cors, matcher, f"{R}/{ID}", "GET")
    assert answer is not None
    assert "Authorization" in fields(answer)["Access-Control-Allow-Headers"].split(", ")
