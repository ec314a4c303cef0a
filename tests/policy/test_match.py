from __future__ import annotations

from collections.abc import Mapping

import pytest

from strangler.domain.exchange import Peer, Request
from strangler.policy.match import Matched, ResourcePath, compile_table, host_name
from strangler.policy.model import Mode, Rollout, Route
from tests.policy.builders import a_route, a_table

UUID = "0195c3a1-0000-7000-8000-0123456789ab"


def ask(
    routes: list[Route],
    path: bytes | str,
    method: str = "GET",
    query: bytes | None = None,
    fields: Mapping[bytes, bytes] | None = None,
) -> Matched:
    raw = path.encode() if isinstance(path, str) else path
    return compile_table(a_table(*routes)).match(method, None, raw, query, dict(fields or {}).get)


def winner(*routes: Route, path: bytes | str, **asked: object) -> str | None:
    route = ask(list(routes), path, **asked).route  # type: ignore[arg-type]
    return route.name if route else None


def test_an_exact_path_matches_itself_only() -> None:
    route = a_route("claims", "/claims")
    assert winner(route, path="/claims") == "claims"
    assert winner(route, path="/claims/") is None
    assert winner(route, path="/claim") is None


def test_a_prefix_matches_its_own_path_and_all_below() -> None:
    route = a_route("files", "/files/*")
    for path in ("/files", "/files/", "/files/a", "/files/a/b"):
        assert winner(route, path=path) == "files"
    assert winner(route, path="/filesystem") is None


def test_the_prefix_of_everything_matches_everything() -> None:
    assert winner(a_route("all", "/*"), path="/") == "all"
    assert winner(a_route("all", "/*"), path="/a/b") == "all"


def test_an_asterisk_target_is_no_path() -> None:
    assert winner(a_route("all", "/*"), path="*", method="OPTIONS") is None


def test_a_parameter_is_one_segment_that_is_not_empty() -> None:
    route = a_route("assess", "/claims/{claim_id}/assess")
    assert ask([route], "/claims/C-17/assess").parameters == {"claim_id": "C-17"}
    assert winner(route, path="/claims//assess") is None
    assert winner(route, path="/claims/a/b/assess") is None


def test_parameters_are_decoded_and_keep_an_encoded_slash_in_their_segment() -> None:
    matched = ask([a_route("r", "/a/{x}/{y}")], "/a/b%2Fc/d%20e")
    assert matched.parameters == {"x": "b/c", "y": "d e"}


def test_octets_that_are_no_text_do_not_fall_together() -> None:
    route = a_route("r", "/a/{x}")
    assert ask([route], b"/a/%FF").parameters != ask([route], b"/a/%FE").parameters


def test_literal_beats_parameter_beats_prefix_segment_by_segment() -> None:
    routes = [a_route("prefix", "/a/*"), a_route("parameter", "/a/{x}"), a_route("literal", "/a/b")]
    assert winner(*routes, path="/a/b") == "literal"
    assert winner(*routes, path="/a/c") == "parameter"
    assert winner(*routes, path="/a/c/d") == "prefix"
    assert winner(*routes, path="/a") == "prefix"


def test_an_earlier_segment_counts_more_than_a_later_one() -> None:
    routes = [a_route("late", "/{x}/b/c"), a_route("early", "/a/{y}/{z}")]
    assert winner(*routes, path="/a/b/c") == "early"


def test_what_leads_nowhere_is_tried_the_other_way() -> None:
    routes = [a_route("literal", "/a/b/c"), a_route("parameter", "/a/{x}/d"), a_route("prefix", "/{y}/*")]
    assert winner(*routes, path="/a/b/d") == "parameter"
    assert winner(*routes, path="/a/b/e") == "prefix"


ONE_PATH = pytest.mark.parametrize("path", ["/a/b", "/a/{x}", "/a/*"])
"""An exact path, a parameter and a prefix, each of which ``/a/b`` falls on."""


@ONE_PATH
def test_a_named_method_beats_all_methods_and_others_fall_through(path: str) -> None:
    routes = [a_route("any", path), a_route("post", path, methods={"POST"}), a_route("rest", "/*")]
    assert winner(*routes, path="/a/b", method="POST") == "post"
    assert winner(*routes, path="/a/b", method="GET") == "any"
    assert winner(routes[1], routes[2], path="/a/b", method="GET") == "rest"


def test_a_method_is_compared_with_its_case() -> None:
    assert winner(a_route("post", "/claims", methods={"POST"}), path="/claims", method="post") is None


@ONE_PATH
def test_more_header_and_query_terms_win(path: str) -> None:
    routes = [
        a_route("none", path),
        a_route("one", path, headers={"x-version": "2*"}),
        a_route("two", path, headers={"x-version": "*"}, query={"dry": "*"}),
    ]
    assert winner(*routes, path="/a/b") == "none"
    assert winner(*routes, path="/a/b", fields={b"x-version": b"2.1"}) == "one"
    assert winner(*routes, path="/a/b", fields={b"x-version": b"3"}) == "none"
    assert winner(*routes, path="/a/b", fields={b"x-version": b"2"}, query=b"dry=") == "two"


def test_all_header_and_query_terms_have_to_hold() -> None:
    route = a_route("r", "/a", headers={"x-version": "2", "x-kind": "car"}, query={"dry": "1", "kind": "car"})
    both = {b"x-version": b"2", b"x-kind": b"car"}
    assert winner(route, path="/a", fields=both, query=b"dry=1&kind=car") == "r"
    for query in (b"dry=1", b"kind=car", b"dry=1&kind=bus", b"dry=2&kind=car"):
        assert winner(route, path="/a", fields=both, query=query) is None
    for fields in (
        {b"x-version": b"2"},
        {b"x-kind": b"car"},
        {**both, b"x-kind": b"bus"},
        {**both, b"x-version": b"3"},
    ):
        assert winner(route, path="/a", fields=fields, query=b"dry=1&kind=car") is None


def test_the_first_of_several_query_parameters_counts_decoded() -> None:
    route = a_route("r", "/a", query={"kind": "big car"})
    assert winner(route, path="/a", query=b"kind=big+car&kind=x") == "r"
    assert winner(route, path="/a", query=b"k%69nd=big%20car") == "r"
    assert winner(route, path="/a", query=b"kind=x&kind=big+car") is None
    assert winner(route, path="/a") is None


def test_a_narrower_host_beats_a_more_specific_path() -> None:
    routes = [
        a_route("path", "/claims"),
        a_route("ending", "/*", hosts=("*.example.org",)),
        a_route("longer", "/*", hosts=("*.api.example.org",)),
        a_route("exact", "/*", hosts=("eu.api.example.org",)),
    ]
    for host, name in (
        (b"eu.api.example.org", "exact"),
        (b"EU.API.example.org.:8443", "exact"),
        (b"us.api.example.org", "longer"),
        (b"www.example.org", "ending"),
        (b"example.org", "path"),
        (b".example.org", "path"),
        (b"elsewhere", "path"),
        (b"", "path"),
    ):
        assert winner(*routes, path="/claims", fields={b"host": host}) == name, host


def test_a_host_without_the_path_falls_through_to_the_wider_one() -> None:
    routes = [a_route("exact", "/other", hosts=("a.example.org",)), a_route("ending", "/x", hosts=("*.example.org",))]
    assert winner(*routes, path="/x", fields={b"host": b"a.example.org"}) == "ending"


@pytest.mark.parametrize(
    "host", [b"b.example.org", b"xa.example.org", b"a.example.com", b"a-long-name.elsewhere.example"]
)
def test_a_host_that_merely_resembles_one_of_a_route_is_another(host: bytes) -> None:
    assert winner(a_route("exact", "/x", hosts=("a.example.org",)), path="/x", fields={b"host": host}) is None
    assert winner(a_route("ending", "/x", hosts=("*.a.example.org",)), path="/x", fields={b"host": host}) is None


def test_a_given_host_is_taken_instead_of_the_field() -> None:
    matcher = compile_table(a_table(a_route("r", "/a", hosts=("one",))))
    assert matcher.match("GET", b"one", b"/a", None, {b"host": b"other"}.get).route is not None
    assert matcher.match("GET", None, b"/a", None, {b"host": b"other"}.get).route is None


def test_an_address_in_brackets_is_a_host() -> None:
    assert host_name(b"[2001:DB8::1]:8080") == b"[2001:db8::1]"


def test_other_spellings_of_a_path_are_matched_in_normal_form() -> None:
    route = a_route("r", "/api/claims")
    for path in (b"/api/%63laims", b"/api//claims", b"/x/../api/claims", b"/api/./claims"):
        assert winner(route, path=path) == "r"


def test_a_path_pattern_is_matched_in_normal_form_as_well() -> None:
    assert winner(a_route("r", "/café/a%2fb"), path=b"/caf%c3%a9/a%2Fb") == "r"
    assert winner(a_route("r", "/caf%C3%A9"), path="/café") == "r"


def test_a_target_whose_forms_fall_on_different_routes_is_ambiguous_where_one_is_recorded() -> None:
    recorded = a_route("claims", "/claims", mode=Mode.ASYNC)
    rest = a_route("rest", "/*")
    assert ask([recorded], "/x/../claims").ambiguous
    assert ask([recorded, rest], "/%63laims").ambiguous
    assert not ask([recorded, rest], "/claims").ambiguous
    assert not ask([recorded, rest], "/x//y").ambiguous
    assert not ask([a_route("claims", "/claims"), rest], "/%63laims").ambiguous


def test_a_route_that_is_rolled_out_counts_as_recorded() -> None:
    route = a_route("claims", "/claims", rollout=Rollout(mode=Mode.ASYNC, percent=1, seed="s"))
    assert ask([route], "/x/../claims").ambiguous


def test_spellings_that_fall_on_the_same_route_are_not_ambiguous() -> None:
    route = a_route("documents", "/documents/{id}", mode=Mode.COMPAT)
    matched = ask([route], "/documents/%41b")
    assert not matched.ambiguous
    assert matched.parameters == {"id": "Ab"}


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("GET", "/claim-submissions", (None, b"")),
        ("HEAD", "/claim-submissions", (None, b"")),
        ("POST", "/claim-submissions", None),
        ("GET", "/claim-submissions/events", (None, b"/events")),
        ("HEAD", "/claim-submissions/./events", (None, b"/events")),
        ("POST", "/claim-submissions/events", None),
        ("GET", "/claim-submissions/events/", None),
        ("GET", f"/claim-submissions/{UUID}", (UUID, b"")),
        ("DELETE", f"/claim-submissions/{UUID.upper()}", (UUID, b"")),
        ("GET", f"/claim-submissions/{UUID}/status", (UUID, b"/status")),
        ("GET", f"/claim-submissions/{UUID}/", (UUID, b"/")),
        ("GET", f"//claim-submissions/%30{UUID[1:]}", (UUID, b"")),
        ("GET", f"/claim-submissions/{UUID}x", None),
        ("GET", "/claim-submissions/17", None),
        ("GET", "/claim-submissions-other", None),
        ("GET", "/", None),
    ],
)
def test_the_paths_of_process_resources(method: str, path: str, found: tuple[str | None, bytes] | None) -> None:
    matcher = compile_table(a_table(a_route("r", "/claims", mode=Mode.ASYNC, resource="/claim-submissions")))
    resource = matcher.resource_at(method, None, path.encode())
    assert (resource and (resource.process_id, resource.rest)) == found


def test_a_collection_called_events_comes_before_the_stream_of_another() -> None:
    routes = [
        a_route("one", "/a", mode=Mode.ASYNC, resource="/all/events"),
        a_route("two", "/b", mode=Mode.ASYNC, resource="/all"),
    ]
    matcher = compile_table(a_table(*routes))
    assert matcher.resource_at("GET", None, b"/all/events") == ("/all/events", None, b"")
    assert matcher.resource_at("GET", None, b"/all/events/events") == ("/all/events", None, b"/events")


def test_resources_are_those_of_recorded_routes_with_their_hosts() -> None:
    matcher = compile_table(
        a_table(
            a_route("one", "/a", mode=Mode.ASYNC, resource="/ones", hosts=("a.example.org",)),
            a_route("two", "/b", mode=Mode.COMPAT, resource="/ones", hosts=("*.b.example.org",)),
            a_route("three", "/c", mode=Mode.ASYNC, resource="/threes", hosts=("c",)),
            a_route("four", "/d", mode=Mode.ASYNC, resource="/threes"),
            a_route("five", "/e", resource="/never"),
        ),
        kept_resources=["/gone"],
    )
    assert matcher.resources == {"/ones": ("*.b.example.org", "a.example.org"), "/threes": (), "/gone": ()}
    assert matcher.resource_at("GET", b"a.example.org:80", b"/ones") is not None
    assert matcher.resource_at("GET", b"x.b.example.org", b"/ones") is not None
    assert matcher.resource_at("GET", b"other", b"/ones") is None
    assert matcher.resource_at("GET", None, b"/ones") is None
    assert matcher.resource_at("GET", b"anything", b"/gone") is not None


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_a_resource_that_one_route_serves_on_all_hosts_is_there_on_all_of_them(order: slice) -> None:
    routes = [
        a_route("limited", "/a", mode=Mode.ASYNC, resource="/ones", hosts=("a.example.org",)),
        a_route("everywhere", "/b", mode=Mode.ASYNC, resource="/ones"),
    ]
    matcher = compile_table(a_table(*routes[order]))
    assert matcher.resource_at("GET", b"elsewhere", b"/ones") is not None


def test_the_host_of_a_request_is_looked_up_only_where_it_matters() -> None:
    limited = a_route("one", "/a", mode=Mode.ASYNC, resource="/ones", hosts=("a",))
    matcher = compile_table(a_table(limited, a_route("two", "/b", mode=Mode.ASYNC, resource="/twos")))

    def request(path: bytes, *headers: tuple[bytes, bytes]) -> Request:
        return Request("GET", path, headers, Peer("127.0.0.1", 1), Nothing())

    assert matcher.target_of(request(b"/twos")) == ("/twos", None, b"")
    assert matcher.target_of(request(b"/ones", (b"Host", b"a:80"))) == ("/ones", None, b"")
    for other in (request(b"/ones", (b"Host", b"b")), request(b"/ones"), request(b"/threes")):
        assert matcher.target_of(other) == Matched(None, {})
    found = matcher.target_of(request(b"/a", (b"Host", b"A")))
    assert isinstance(found, Matched)
    assert found.route is limited
    assert matcher.match_request(request(b"/a", (b"Host", b"A"))) == found


def test_no_spelling_of_a_request_slips_past_what_it_is_for() -> None:
    recorded = a_route("claims", "/claims", mode=Mode.ASYNC, resource="/claim-submissions")
    matcher = compile_table(a_table(recorded, a_route("document", "/documents/{id}"), a_route("rest", "/*")))

    def target(path: str) -> ResourcePath | Matched:
        return matcher.target_of(Request("GET", path.encode(), (), Peer("127.0.0.1", 1), Nothing()))

    for path in ("/claim-submissions", "//claim-submissions", "/x/../claim-submissions", "/%63laim-submissions"):
        assert target(path) == ("/claim-submissions", None, b"")
    for path in ("//claims", "/x/../claims", "/%63laims"):
        matched = target(path)
        assert isinstance(matched, Matched)
        assert matched.ambiguous
    matched = target("/documents//%41b")
    assert isinstance(matched, Matched)
    assert (matched.route and matched.route.name, matched.parameters) == ("document", {"id": "Ab"})


class Nothing:
    """A body without a byte."""

    async def read(self) -> bytes:
        """The end."""
        return b""
