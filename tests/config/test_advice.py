"""What is legal in a policy but unwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.scene import UPSTREAM, advice, one_route

QUIET = "access: {identity: ['header:X-Api-Key']}\npublic_url: 'https://a.example'\n"


def test_a_sound_policy_gets_no_advice(tmp_path: Path) -> None:
    assert advice(tmp_path, one_route(QUIET)) == []
    assert advice(tmp_path, one_route(QUIET, methods="[GET]", mode="compat")) == []
    assert advice(tmp_path, one_route(mode="passthrough")) == []


@pytest.mark.parametrize(
    ("keys", "mode", "said"),
    [
        (
            "call: {attempts: 2, on_in_doubt: retry}",
            "async",
            "9:38: warning: routes[0].call.on_in_doubt: a POST of which",
        ),
        (
            "call: {timeout: 2m}\nprocess: {deadline: 1m}",
            "async",
            "deadline (1m) is shorter than the timeout of one call (2m)",
        ),
        (
            "call: {follow: {every: 1m}}",
            "compat",
            "routes[0].call.follow: clients are told 504 after 65s: before a legacy system that took all",
        ),
        ("wait: 10s", "compat", "warning: routes[0].wait: clients are told 504 after 10s, while a call may take 1m"),
        ("cors: {origins: ['*']}", "passthrough", "routes[0].cors: has no effect: what passes through is the legacy"),
        ("limits: {polls: 10/s}", "passthrough", "routes[0].limits: has no effect: what passes through is not limited"),
        ("call: {circuit: {}}", "passthrough", "routes[0].call.circuit: has no effect: what passes through is not"),
        (
            "call: {circuit: {}, concurrency: 4}",
            "async",
            "routes[0].call.circuit.within: 5 calls that run out of time (1m, 4 at once) do not end within 30s",
        ),
        ("rollout: {mode: async, percent: 5}", "async", "rollout.mode: has no effect: it is the route's mode already"),
        (
            "call: {retry_on: [not_sent, 500]}",
            "async",
            "call.retry_on: 500 does not say that nothing was done: a POST may be",
        ),
        ("call: {attempts: 3}", "async", "call.attempts: has no effect: what may have been done is not repeated"),
        ("call: {backoff: {initial: 2m}}", "async", "call.backoff.initial: has no effect: it is longer than max"),
        ("accept: {idempotency: {window: 1m}}", "async", "idempotency.window: has no effect: no key is derived"),
        (
            "accept: {idempotency: {derive: fingerprint, required: true}}",
            "async",
            "idempotency.derive: has no effect: who sends no key is refused (required)",
        ),
        (
            "accept: {idempotency: {scope: route}}",
            "async",
            "idempotency.scope: another caller who repeats a request with",
        ),
        ("accept: {idempotency: {derive_anonymous: true}}", "async", "derive_anonymous: has no effect: no key is"),
        ("rollout: {mode: compat, percent: 0}", "async", "rollout.percent: has no effect: nobody is in it"),
        ("on_store_failure: passthrough", "async", "on_store_failure: has no effect: only compat can let"),
        (
            "call: {headers: {set: {X-Svc: a, X_Svc: b}}}",
            "async",
            "routes[0].call.headers.set.X_Svc: the same header as X-Svc to CGI and WSGI: one of the two is lost",
        ),
        (
            "call: {follow: {headers: {set: {X_A: a, X-A: b}}}}",
            "async",
            "call.follow.headers.set.X-A: the same header as X_A",
        ),
        (
            "call: {on_in_doubt: probe, probe: {path: '/{process.id}', applied: {status: 200}, "
            "absent: {status: 404}, headers: {set: {X-A: a, X_A: b}}}}",
            "async",
            "call.probe.headers.set.X_A: the same header as X-A",
        ),
        (
            "translate: {request: {headers: {set: {X-A: a, X_A: b}}}}",
            "async",
            "translate.request.headers.set.X_A: the same header as X-A",
        ),
        (
            "call: {headers: {set: {X-Caller: 'by {caller.name}'}}}",
            "async",
            "call.headers.set.X-Caller: is sent as it stands, with its {…}; translate.request.headers.set takes",
        ),
        (
            "call: {follow: {headers: {set: {X-Id: '{headers.\"x-id\"}'}}}}",
            "async",
            "call.follow.headers.set.X-Id: is sent as it stands, with its {…}",
        ),
        ("rewrite: {strip_prefix: /legacy}", "passthrough", "rewrite.strip_prefix: has no effect: no path here begins"),
        ("rewrite: {strip_prefix: /claims/v1}", "async", "rewrite.strip_prefix: has no effect: no path here begins"),
        ("rewrite: {strip_prefix: /claim}", "async", "rewrite.strip_prefix: has no effect: no path here begins"),
    ],
)
def test_what_is_unwise_is_a_warning_in_its_place(tmp_path: Path, keys: str, mode: str, said: str) -> None:
    (found,) = advice(tmp_path, one_route(QUIET + keys, mode=mode))
    assert said in found
    assert ": warning: " in found


@pytest.mark.parametrize("value", ['{"a": 1}', "{3f2504e0-4f89-11d3-9a0c-0305e82c3301}", "{}", "a{2}", "${env:V}"])
def test_braces_that_are_like_no_expression_are_sent_without_a_word(tmp_path: Path, value: str) -> None:
    route = one_route(f"{QUIET}call: {{headers: {{set: {{X-A: '{value}', X-B: '${{secret-env:S}}'}}}}}}")
    assert advice(tmp_path, route, {"V": "v", "S": "{caller.name}"}) == []


@pytest.mark.parametrize("path", ["/legacy", "/legacy/v1", "/legacy/*", "/*", "/{tenant}/claims"])
def test_a_prefix_that_a_path_may_begin_with_is_stripped_without_a_word(tmp_path: Path, path: str) -> None:
    policy = one_route("rewrite: {strip_prefix: /legacy}", mode="passthrough")
    assert advice(tmp_path, policy.replace("path: /claims", f"path: ['{path}', /quotes]")) == []


def test_a_prefix_that_routes_share_is_stripped_from_one_of_them_at_least(tmp_path: Path) -> None:
    policy = (
        UPSTREAM
        + """
route_defaults: {upstream: legacy, rewrite: {strip_prefix: /legacy}}
routes:
  - {name: one, match: {path: /legacy/claims}}
  - {name: two, match: {path: /quotes}}
"""
    )
    assert advice(tmp_path, policy) == []
    [found] = advice(tmp_path, policy.replace("/legacy/claims", "/claims"))
    assert "rewrite.strip_prefix: has no effect" in found


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ("translate: {request: {path: '/x/{path.ID}'}}", "translate.request.path"),
        (
            "call: {on_in_doubt: probe, attempts: 2, probe: {path: '/x/{path.ID}', applied: {status: 200}}}",
            "call.probe.path",
        ),
        ("access: {identity: ['header:X-Api-Key'], authorize: {path: '/x/{path.ID}'}}", "access.authorize.path"),
    ],
)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("id", None),
        ("params.id", "path.params is never there: match.path has id"),
        ("Id", "path.Id is never there: match.path has id"),
        ("id || query.items[?path.other].name | [0]", None),
    ],
)
def test_a_path_that_asks_for_a_parameter_of_no_path_is_told(
    tmp_path: Path, keys: str, place: str, name: str, said: str | None
) -> None:
    quiet = "" if "access:" in keys else "access: {identity: ['header:X-Api-Key']}\n"
    text = "public_url: 'https://a.example'\n" + quiet + keys.replace("ID", name)
    policy = one_route(text).replace("path: /claims,", "path: '/claims/{id}',")
    found = [one for one in advice(tmp_path, policy) if "never there" in one]
    assert [one.endswith(f"warning: routes[0].{place}: {said}") for one in found] == ([True] if said else [])


def test_repeats_that_the_upstream_can_see_are_no_matter(tmp_path: Path) -> None:
    keys = "call: {attempts: 2, on_in_doubt: retry, forward_idempotency_key: Idempotency-Key}"
    assert advice(tmp_path, one_route(QUIET + keys)) == []


def test_what_is_safe_to_repeat_is_repeated_without_advice(tmp_path: Path) -> None:
    for keys in ("call: {attempts: 5, retry_on: [500, 502, 504]}", "call: {attempts: 2, on_in_doubt: retry}"):
        assert advice(tmp_path, one_route(QUIET + keys, methods="[GET, HEAD]")) == []
    assert advice(tmp_path, one_route(QUIET + "call: {retry_on: [not_sent, 429, 503, 409]}")) == []


def test_a_rollout_by_callers_whom_nobody_tells_apart(tmp_path: Path) -> None:
    keys = "public_url: 'https://a.example'\nrollout: {mode: compat, percent: 5}\naccess: {identity: []}"
    (found,) = advice(tmp_path, one_route(keys))
    assert "warning: routes[0].rollout" in found
    assert "has no effect: without access.identity nobody is told apart" in found


def test_bearer_tokens_as_identity_are_a_warning_also_by_default(tmp_path: Path) -> None:
    base = "public_url: 'https://a.example'\n"
    for keys in (base, base + "access: {identity: ['header:authorization']}"):
        (found,) = advice(tmp_path, one_route(keys))
        assert "warning: routes[0].access.identity: if Authorization holds bearer tokens" in found


def test_links_without_a_public_url_are_a_note_unless_the_environment_has_one(tmp_path: Path) -> None:
    text = one_route("access: {identity: ['header:X-Api-Key']}")
    (found,) = advice(tmp_path, text)
    assert ": note: " in found
    assert "--public-url" in found
    assert advice(tmp_path, text, {"STRANGLER_PUBLIC_URL": "https://a.example"}) == []


@pytest.mark.parametrize(
    ("match", "said"),
    [
        ("path: /a/../b", "/a/../b never matches: matching is on paths without dot segments and //"),
        ("path: /a//b", "/a//b never matches"),
        ("path: /a//*", "/a//* matches nothing below it, for // is / to matching; /a/* does"),
        ("path: /a b", "/a b never matches: matching is on paths without dot segments and //, where a space is %20"),
        ("path: '/a/./{x}'", "never matches"),
        ("path: /a, methods: [TRACE]", "never matches: CONNECT and TRACE are refused before"),
    ],
)
def test_a_route_that_never_matches_is_a_warning(tmp_path: Path, match: str, said: str) -> None:
    (found,) = advice(tmp_path, UPSTREAM + f"routes: [{{name: a, upstream: legacy, match: {{{match}}}}}]")
    assert said in found


@pytest.mark.parametrize("path", ["/a/", "/a/*", "/*", "/", "/a/{x}/", "/a%2Fb", "/café"])
def test_usual_paths_can_match(tmp_path: Path, path: str) -> None:
    assert advice(tmp_path, UPSTREAM + f"routes: [{{name: a, upstream: legacy, match: {{path: '{path}'}}}}]") == []


@pytest.mark.parametrize(
    ("upstreams", "said"),
    [
        ('{legacy: {url: "http://a"}, other: {url: "http://b"}}', "upstreams.other: no route uses the upstream other"),
        ('{legacy: {url: "http://a", tls: {verify: false}}}', "tls: has no effect on a URL that is not https"),
        ('{legacy: {url: "https://a", tls: {verify: false}}}', "tls.verify: whoever answers is taken for the upstream"),
    ],
)
def test_unwise_upstreams(tmp_path: Path, upstreams: str, said: str) -> None:
    (found,) = advice(tmp_path, f"upstreams: {upstreams}\ndefault: {{upstream: legacy}}")
    assert said in found
    assert ": warning: " in found
