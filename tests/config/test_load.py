"""What a policy loads to: every key, and every default."""

from __future__ import annotations

import json
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from strangler.config.load import load_policy
from strangler.config.schema import policy_schema
from strangler.domain.process import PublicState
from strangler.domain.retry import Backoff
from strangler.policy.model import (
    AcceptPolicy,
    AccessPolicy,
    AuthorizePolicy,
    CallPolicy,
    CircuitPolicy,
    CorsPolicy,
    Default,
    Deprecation,
    FollowPolicy,
    IdempotencyPolicy,
    JwtPolicy,
    Limits,
    Match,
    Mode,
    ProcessPolicy,
    Rate,
    Redaction,
    Rewrite,
    Rollout,
    on_in_doubt_for,
)
from strangler.policy.upstreams import Forward, Tls, Upstream
from tests.config.scene import UPSTREAM, load, load_route, one_route, stamps, write, write_certificates

TEN_LINES = """\
upstreams:
  claims: {url: "http://127.0.0.1:8081"}
routes:
  - name: submit-claim
    match: {path: /claims, methods: [POST]}
    upstream: claims
    mode: async
default: {upstream: claims}          # everything else passes through untouched
"""

EVERY_KEY = """\
upstreams:
  legacy:
    url: "https://Legacy.example:8443/base/"
    connect_timeout: 250ms
    timeout: 30s
    first_byte_timeout: 1m
    idle_timeout: 2m
    tunnel_timeout: 2h
    keepalive: 0s
    max_connections: 5
    queue_timeout: 1s
    tls: {ca: tls/ca.pem, cert: tls/cert.pem, key: tls/key.pem, verify: false, server_name: inner}
    host_header: upstream
    forward: {x_forwarded: false, forwarded: true, via: false}
    upgrade: [WebSocket, tls/1.0]
receivers:
  broker:
    url: "https://Hooks.example:8443/claims?a=1"
    secrets: ["whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
    signature: v1
    tls: {ca: tls/ca.pem, cert: tls/cert.pem, key: tls/key.pem, verify: true, server_name: hooks}
    networks: [10.1.0.0/16, "fd12::/32"]
    verify: handshake
    states: [unconfirmed, completed]
    payload: result
    callers: ["partner-*"]
    concurrency: 2
    rate: 100/s
    timeout: 5s
    attempts: 3
    backoff: {initial: 1s, factor: 2, max: 1m, jitter: none}
  partners:
    allow: ["https://*.partner.example"]
    secrets: ["whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
routes:
  - name: claims
    match:
      path: [/claims, "/claims/{id}"]
      methods: [POST, PUT]
      hosts: [API.example.org, "*.example.net"]
      headers: {X-Version: "2*"}
      query: {dry: "*"}
    upstream: legacy
    mode: compat
    wait: 3s
    prefer: ignore
    rollout:
      {mode: async, wait: 1s, percent: 12.5, by: "header:X-Client", include: [a, "b-*"], exclude: [c], seed: s}
    process:
      resource: /claim-submissions
      type: ClaimSubmission
      id_field: claimSubmissionId
      deadline: 2h
      retain: 7d
      retain_bodies: 1d
      retain_history: 2d
      retain_deliveries: 3d
      statuses: {received: GOT, unconfirmed: UNCLEAR}
      contract: native
      references: {policyNumber: body.policyNumber, claimNumber: reply.body.claim, public: [claimNumber]}
    accept:
      schema: schemas/claim.json
      content_types: [Application/JSON]
      require_headers: [X-Client]
      enforce: report
      max_body: 64KiB
      over_max_body: 413
      idempotency:
        header: [Idempotency-Key, X-Key]
        required: true
        ttl: 2d
        scope: route
        derive: {policy: body.policy, day: "body.day"}
        derive_anonymous: true
        window: 1m
      queue_bytes: 1MiB
    access:
      identity: ["jwt:sub", "basic:user", "header:X-Client", "cookie:sid", "query:key", "tls:subject"]
      read: anyone
      cancel: caller
      name: "header:X-Label"
      jwt: {jwks: "https://id.example/keys?v=1", issuer: "https://id.example/", audience: [claims, old-claims]}
      authorize: {path: "/may/{path.id}", method: HEAD, cache: 1m}
    call:
      timeout: 20s
      attempts: 4
      backoff: {initial: 2s, factor: 1.5, max: 30s, jitter: equal}
      retry_on: [409, 503]
      on_in_doubt: retry
      settle: 1m
      headers: {set: {Authorization: "Bearer x", X-A: ""}, remove: [X-Client, Cookie]}
      credentials: drop
      forward_idempotency_key: X-Idem
      concurrency: 2
      queue: 10
      max_reply: 1MiB
      follow:
        url: "header:Operation-Location"
        every: 5s
        done: {status: 200}
        headers: {set: {X-B: b}}
        for: 1h
      probe:
        method: HEAD
        path: "/claims/{process.id}"
        upstream: legacy
        headers: {set: {X-C: c}}
        timeout: 1s
        applied: {status: 200}
        absent: {status: 404}
        result: {status: 201, body: {id: process.id}}
        attempts: 2
        backoff: 3s
      circuit: {failures: 3, within: 1m, open: 5s}
    limits: {accepts: 100/min, polls: 10/s, by: address}
    redact: {headers: [X-Ssn], pointers: [/insured/iban, "/items/*/price"]}
    translate:
      request:
        source: {format: json, charset: utf-16, lists: [line], namespaces: {c: "urn:claims"}}
        template: templates/claim.xml
        format: soap
        charset: ISO-8859-1
        namespaces: {"": "urn:legacy"}
        soap: {version: 1.2, action: "urn:submit", header: {Session: headers.authorization}}
        headers: {set: {X-Trace: "{process.id}"}, remove: [Accept, "X-*"]}
        path: /legacy/{body.id}
        method: POST
      reply: {charset: windows-1252}
      response:
        - when: {status: [2xx, "404-405"], headers: {Content-Type: "text/xml*"}, body: "answer"}
          body: {policy: "reply.body.answer.POLNR"}
          status: "reply.status"
    outcome:
      - {when: {status: 200, body: "RESULT == 'NO'"}, state: rejected, status: DECLINED, reason: TEXT, effect: none}
    errors: soap12
    rewrite: {strip_prefix: /api/, add_prefix: /v1}
    on_store_failure: passthrough
    deprecation: {since: 2026-01-31, sunset: "2026-12-31T22:00:00+02:00", link: "https://docs.example.org/x"}
    public_url: "https://api.example.org/base/"
    cors:
      origins: ["https://app.example", "https://*.example.org:8443"]
      headers: [X-Tenant]
      expose: [X-Total]
      credentials: true
      max_age: 1h
    callbacks: {receivers: [broker, partners], header: X-Callback-Url, body: body.callbackUrl}
default: {upstream: legacy, rewrite: {add_prefix: /old}}
"""


def test_ten_lines_are_enough(tmp_path: Path) -> None:
    loaded = load(tmp_path, TEN_LINES)
    claims = Upstream(name="claims", scheme="http", host="127.0.0.1", port=8081)
    assert loaded.table.upstreams == {"claims": claims}
    assert loaded.table.default == Default(upstream=claims)
    route = loaded.table.routes["submit-claim"]
    assert route.match == Match(paths=("/claims",), methods=frozenset({"POST"}))
    assert (route.mode, route.wait, route.prefer, route.on_store_failure) == (Mode.ASYNC, 0.0, "honor", "refuse")
    assert (route.rollout, route.deprecation, route.public_url) == (None, None, None)
    assert route.process == ProcessPolicy(type="submit-claim")
    assert route.accept == AcceptPolicy()
    assert route.access == AccessPolicy()
    assert route.rewrite == Rewrite()
    assert route.cors == CorsPolicy()
    assert route.call == CallPolicy(timeout=60.0, attempts=None, on_in_doubt=None, settle=75.0)


def test_every_key_arrives(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"policy": {"type": "string", "pattern": "^P-[0-9]+$"}}}
    write(tmp_path, json.dumps(schema), "schemas/claim.json")
    write_certificates(tmp_path / "tls")
    write(tmp_path, "<claim>{body.policy}</claim>", "templates/claim.xml")
    table = load(tmp_path, EVERY_KEY).table
    legacy = Upstream(
        name="legacy",
        scheme="https",
        host="legacy.example",
        port=8443,
        base_path="/base",
        connect_timeout=0.25,
        timeout=30.0,
        first_byte_timeout=60.0,
        idle_timeout=120.0,
        tunnel_timeout=7200.0,
        keepalive=0.0,
        max_connections=5,
        queue_timeout=1.0,
        tls=Tls(
            ca=str(tmp_path / "tls/ca.pem"),
            cert=str(tmp_path / "tls/cert.pem"),
            key=str(tmp_path / "tls/key.pem"),
            verify=False,
            server_name="inner",
            seen=stamps(tmp_path / "tls", "ca", "cert", "key"),
        ),
        host_header="upstream",
        forward=Forward(x_forwarded=False, forwarded=True, via=False),
        upgrade=("websocket", "tls/1.0"),
    )
    assert table.upstreams == {"legacy": legacy}
    assert table.default == Default(upstream=legacy, rewrite=Rewrite(add_prefix="/old"))
    route = table.routes["claims"]
    assert route.upstream == legacy
    assert route.match == Match(
        paths=("/claims", "/claims/{id}"),
        methods=frozenset({"POST", "PUT"}),
        hosts=("api.example.org", "*.example.net"),
        headers={"x-version": "2*"},
        query={"dry": "*"},
    )
    assert (route.mode, route.wait, route.prefer) == (Mode.COMPAT, 3.0, "ignore")
    assert route.rollout == Rollout(
        mode=Mode.ASYNC,
        wait=1.0,
        percent=12.5,
        by="header:X-Client",
        include=("a", "b-*"),
        exclude=("c",),
        seed="s",
    )
    assert route.process == ProcessPolicy(
        type="ClaimSubmission",
        resource="/claim-submissions",
        id_field="claimSubmissionId",
        deadline=7200.0,
        retain=604800.0,
        retain_bodies=86400.0,
        retain_history=172800.0,
        retain_deliveries=259200.0,
        statuses={PublicState.RECEIVED: "GOT", PublicState.UNCONFIRMED: "UNCLEAR"},
        public_references=("claimNumber",),
    )
    assert route.accept == AcceptPolicy(
        schema=schema,
        content_types=("application/json",),
        require_headers=("X-Client",),
        enforce="report",
        max_body=65536,
        over_max_body="413",
        idempotency=IdempotencyPolicy(
            headers=("Idempotency-Key", "X-Key"),
            required=True,
            ttl=172800.0,
            scope="route",
            derive='{"policy": body.policy, "day": body.day}',
            derive_anonymous=True,
            window=60.0,
        ),
        queue_bytes=1048576,
    )
    assert route.access == AccessPolicy(
        identity=("jwt:sub", "basic:user", "header:X-Client", "cookie:sid", "query:key", "tls:subject"),
        read="anyone",
        cancel="caller",
        name="header:X-Label",
        jwt=JwtPolicy(
            jwks="https://id.example/keys?v=1", issuer="https://id.example/", audience=("claims", "old-claims")
        ),
        authorize=AuthorizePolicy(path="/may/{path.id}", method="HEAD", cache=60.0),
    )
    assert route.call.follow is not None
    assert route.call.probe is not None
    assert route.call == CallPolicy(
        timeout=20.0,
        attempts=4,
        on_in_doubt="retry",
        settle=60.0,
        backoff=Backoff(2.0, 1.5, 30.0, "equal"),
        retry_on_not_sent=False,
        retry_on_status=frozenset({409, 503}),
        set_headers=(("Authorization", "Bearer x"), ("X-A", "")),
        remove_headers=frozenset({"x-client", "cookie"}),
        credentials="drop",
        forward_idempotency_key="X-Idem",
        concurrency=2,
        queue=10,
        max_reply=1048576,
        follow=FollowPolicy(
            header="operation-location",
            every=5.0,
            duration=3600.0,
            done=route.call.follow.done,
            set_headers=(("X-B", "b"),),
        ),
        probe=replace(route.call.probe, attempts=2, backoff=3.0, timeout=1.0, method="HEAD", upstream=legacy),
        circuit=CircuitPolicy(failures=3, within=60.0, open=5.0),
    )
    assert route.limits == Limits(accepts=Rate(100, 60.0), polls=Rate(10, 1.0), by="address")
    assert route.promise.redact == Redaction(frozenset({"x-ssn"}), frozenset({"/insured/iban", "/items/*/price"}))
    assert route.rewrite == Rewrite(strip_prefix="/api", add_prefix="/v1")
    assert route.on_store_failure == "passthrough"
    assert route.deprecation == Deprecation(
        since="@1769817600", sunset="Thu, 31 Dec 2026 20:00:00 GMT", link="https://docs.example.org/x"
    )
    assert route.public_url == "https://api.example.org/base"
    assert route.cors == CorsPolicy(
        origins=("https://app.example", "https://*.example.org:8443"),
        headers=("X-Tenant",),
        expose=("X-Total",),
        credentials=True,
        max_age=3600.0,
    )


def test_the_policy_above_has_every_key_there_is() -> None:
    def missing(schema: object, text: str) -> set[str]:
        if not isinstance(schema, dict):
            return set()
        keys = {key for key, below in schema.get("properties", {}).items() if "x-later" not in below}
        found = {key for key in keys if f"{key}:" not in text}
        for below in [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]:
            found |= missing(below, text)
        return found

    states = {"processing", "completed", "rejected", "failed", "expired", "cancelled"}
    assert missing(policy_schema(), EVERY_KEY) == states | {"route_defaults"}


@pytest.mark.parametrize(
    ("method", "call", "attempts", "on_in_doubt"),
    [
        ("GET", "", 3, "retry"),
        ("HEAD", "", 3, "retry"),
        ("POST", "", 1, "review"),
        ("OPTIONS", "", 1, "review"),
        ("GET", "attempts: 1", 1, "retry"),
        ("GET", "on_in_doubt: fail", 3, "fail"),
        ("POST", "attempts: 2", 2, "review"),
        ("POST", "{attempts: 2, on_in_doubt: retry}", 2, "retry"),
    ],
)
@pytest.mark.parametrize("methods", ["one", "all"])
def test_what_is_repeated_goes_by_the_method_unless_the_policy_says_so(
    tmp_path: Path, methods: str, method: str, call: str, attempts: int, on_in_doubt: str
) -> None:
    keys = f"call: {call if call.startswith('{') else '{' + call + '}'}"
    policy = load_route(
        tmp_path, keys, methods=f"[{method}]" if methods == "one" else "[GET, HEAD, POST, OPTIONS]"
    ).call
    assert (policy.attempts_for(method), on_in_doubt_for(policy.on_in_doubt, method)) == (attempts, on_in_doubt)


def test_waits_and_times_follow_the_timeout_of_the_call(tmp_path: Path) -> None:
    upstream = UPSTREAM.replace("}}", ", timeout: 40s}}")
    compat = load_route(tmp_path, mode="compat", upstream=upstream)
    assert (compat.call.timeout, compat.wait, compat.call.settle) == (40.0, 45.0, 55.0)
    own = load_route(tmp_path, "call: {timeout: 10s}", mode="compat", upstream=upstream)
    assert (own.call.timeout, own.wait, own.call.settle) == (10.0, 15.0, 25.0)
    assert load_route(tmp_path, mode="async").wait == 0.0
    assert load_route(tmp_path, mode="passthrough").wait == 0.0
    assert load_route(tmp_path, "wait: 2s", mode="async").wait == 2.0


@pytest.mark.parametrize(
    ("mode", "keys", "over"),
    [
        ("compat", "", "passthrough"),
        ("async", "", "413"),
        ("passthrough", "rollout: {mode: compat, percent: 1}", "passthrough"),
        ("passthrough", "rollout: {mode: async, percent: 1}", "413"),
        ("compat", "rollout: {mode: async, percent: 1}", "passthrough"),
        ("compat", "accept: {over_max_body: '413'}", "413"),
    ],
)
def test_what_becomes_of_a_large_body_depends_on_the_mode(tmp_path: Path, mode: str, keys: str, over: str) -> None:
    assert load_route(tmp_path, keys, mode=mode).accept.over_max_body == over


def test_the_seed_of_a_rollout_is_the_name_of_its_route(tmp_path: Path) -> None:
    rollout = load_route(tmp_path, "rollout: {mode: compat, percent: 1}").rollout
    assert rollout == Rollout(mode=Mode.COMPAT, percent=1.0, seed="claims")


def test_a_unix_socket_and_the_usual_ports_are_upstreams(tmp_path: Path) -> None:
    text = """
        upstreams:
          socket: {url: "unix:/run/legacy.sock"}
          secure: {url: "https://[::1]"}
          plain: {url: "http://a/"}
        default: {upstream: plain}
    """
    upstreams = load(tmp_path, text).table.upstreams
    assert (upstreams["socket"].scheme, upstreams["socket"].socket_path) == ("unix", "/run/legacy.sock")
    assert (upstreams["secure"].host, upstreams["secure"].port) == ("::1", 443)
    assert (upstreams["plain"].port, upstreams["plain"].base_path) == (80, "")


def test_derived_keys_may_be_the_fingerprint_or_a_list(tmp_path: Path) -> None:
    def derive(text: str) -> str | None:
        return load_route(tmp_path, f"accept: {{idempotency: {{derive: {text}}}}}").accept.idempotency.derive

    assert derive("fingerprint") == "fingerprint"
    assert derive("body.policy") == "body.policy"
    assert derive("[body.policy, query.day]") == "[body.policy, query.day]"


def test_route_defaults_are_merged_under_every_route_of_their_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        UPSTREAM
        + """
route_defaults:
  upstream: legacy
  mode: async
  call: {attempts: 2, backoff: {initial: 9s}, retry_on: [429]}
routes:
  - {name: one, match: {path: /one}}
  - {name: two, match: {path: /two}, mode: compat, call: {retry_on: [503], backoff: {max: 10s}}}
""",
        "one.yaml",
    )
    write(tmp_path, "routes: [{name: other, match: {path: /other}, upstream: legacy}]", "two.yaml")
    routes = load_policy([tmp_path], {}).table.routes
    assert routes["one"].mode is Mode.ASYNC
    assert (routes["one"].call.attempts, routes["one"].call.retry_on_status) == (2, frozenset({429}))
    assert routes["two"].mode is Mode.COMPAT
    assert (routes["two"].call.attempts, routes["two"].call.retry_on_status) == (2, frozenset({503}))
    assert routes["two"].call.backoff == Backoff(initial=9.0, max=10.0)
    assert (routes["other"].mode, routes["other"].call.attempts) == (Mode.PASSTHROUGH, None)


def test_a_route_may_bring_what_route_defaults_leave_open(tmp_path: Path) -> None:
    text = """
        route_defaults:
          match: {methods: [POST]}
          rollout: {mode: compat}
          call: {on_in_doubt: probe, probe: {applied: {status: 200}}}
          outcome: [{state: rejected}]
        routes:
          - {name: one, match: {path: /one}, upstream: legacy, rollout: {percent: 5}, call: {probe: {path: "/{path}"}}}
    """
    route = load(tmp_path, UPSTREAM + textwrap.dedent(text)).table.routes["one"]
    assert (route.match.paths, route.match.methods) == (("/one",), frozenset({"POST"}))
    assert route.rollout is not None
    assert (route.rollout.mode, route.rollout.percent) == (Mode.COMPAT, 5)
    assert route.call.probe is not None


def test_files_and_folders_make_one_table_and_each_file_is_read_once(tmp_path: Path) -> None:
    one = write(tmp_path, UPSTREAM + "default: {upstream: legacy}", "b/one.yaml")
    write(tmp_path, "routes: [{name: two, match: {path: /two}, upstream: legacy}]", "b/deep/two.yml")
    write(tmp_path, "not: [read", "b/.hidden.yaml")
    write(tmp_path, "not: [read", "b/..data/three.yaml")
    write(tmp_path, "not: [read", "b/notes.txt")
    loaded = load_policy([one, tmp_path / "b"], {})
    assert list(loaded.table.routes) == ["two"]
    assert sorted(loaded.stamps) == [str(tmp_path / "b/deep/two.yml"), str(tmp_path / "b/one.yaml")]


def test_every_file_that_was_read_has_a_stamp(tmp_path: Path) -> None:
    for name in ("token", "body.json"):
        write(tmp_path, "{}", name)
    write_certificates(tmp_path)
    upstream = 'upstreams: {legacy: {url: "https://a", tls: {ca: ca.pem}}}\n'
    keys = "call: {headers: {set: {X: '${file:token}'}}}\naccept: {schema: body.json}"
    loaded = load(tmp_path, one_route(keys, upstream=upstream))
    assert {Path(path).name for path in loaded.stamps} == {"policy.yaml", "ca.pem", "token", "body.json"}
    assert None not in loaded.stamps.values()


def test_certificates_that_were_renewed_make_another_upstream(tmp_path: Path) -> None:
    write_certificates(tmp_path)
    tls = "tls: {ca: ca.pem, cert: cert.pem, key: key.pem}"
    text = f'upstreams: {{legacy: {{url: "https://a", {tls}}}}}\ndefault: {{upstream: legacy}}'
    first = load(tmp_path, text).table
    assert load(tmp_path, text + "\n# a comment").table.upstreams == first.upstreams
    write_certificates(tmp_path)
    renewed = load(tmp_path, text).table
    assert renewed.upstreams != first.upstreams
    assert renewed.revision != first.revision


def test_the_revision_follows_the_content_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, '{"type": "object"}', "body.json")
    text = one_route("accept: {schema: body.json}")
    first = load(tmp_path, text).table.revision
    assert load(tmp_path, text + "# a comment\n").table.revision == first
    assert load(tmp_path, text.replace("async", "compat")).table.revision != first
    write(tmp_path, '{"type": "array"}', "body.json")
    assert load(tmp_path, text).table.revision != first


def test_the_lease_of_the_settings_bounds_settle(tmp_path: Path) -> None:
    policy = write(tmp_path, one_route("call: {settle: 1m, timeout: 30s}"))
    assert load_policy([policy], {}, lease=30.0).table.routes["claims"].call.settle == 60.0
