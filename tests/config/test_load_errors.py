"""What is wrong with a policy is said with its place, its key, and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from strangler.config.load import load_policy
from strangler.config.located import PolicyErrors
from strangler.config.schema import policy_schema
from strangler.config.urls import MAX_SOCKET_PATH
from strangler.operations.api.public import STATUS_KNOWN, STATUS_MEMBERS
from tests.config.scene import UPSTREAM, errors, load, one_route, private_key, without_folder, write, write_certificates

DURATION = "expected a duration such as 250ms, 2s, 5m, 24h or 30d"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("wiat: 2s", "7:5: routes[0].wiat: unknown key; did you mean wait?"),
        ("foo: 1", "7:5: routes[0].foo: unknown key; known here: accept, access, call, callbacks, cors"),
        ("wait: 2", f"7:11: routes[0].wait: {DURATION}, found 2"),
        ("wait: 2 s", f'7:11: routes[0].wait: {DURATION}, found "2 s"'),
        ('wait: "2s\\n"', f'7:11: routes[0].wait: {DURATION}, found "2s\\n"'),
        ("prefer: honour", '7:13: routes[0].prefer: expected honor or ignore, found "honour"; did you mean honor?'),
        ("call: {timeout: 0s}", f'7:21: routes[0].call.timeout: {DURATION}, more than 0, found "0s"'),
        ("call: {attempts: 0}", "routes[0].call.attempts: expected a whole number of at least 1, found 0"),
        ("call: {attempts: two}", 'routes[0].call.attempts: expected a whole number of at least 1, found "two"'),
        ("call: {attempts: true}", "routes[0].call.attempts: expected a whole number of at least 1, found true"),
        ("call: [1]", "7:11: routes[0].call: expected a mapping, found a list"),
        ("call:", "routes[0].call: expected a mapping, found nothing"),
        ("call: {max_reply: 64MB}", "expected a size such as 64KiB or 10MiB"),
        ("call: {retry_on: [refused]}", "routes[0].call.retry_on[0]: expected not_sent, or a status from 400 to 599"),
        ("call: {headers: {set: {X: 2}}}", "routes[0].call.headers.set.X: expected the value of a header, as text"),
        ('call: {headers: {set: {X: "a\\nb"}}}', 'expected the value of a header, as text on one line, found "a\\nb"'),
        ("call: {headers: {set: {X Y: a}}}", "7:28: routes[0].call.headers.set.X Y: expected the name of a header"),
        ("call: {headers: {set: {Content-Length: '1'}}}", "this header is not the policy's to set"),
        ("call: {headers: {set: {X-A: a, x-a: b}}}", "routes[0].call.headers.set.x-a: the same header as X-A"),
        ("call: {headers: {remove: [X, host]}}", "call.headers.remove[1]: a request without Host is none"),
        (
            "translate: {request: {headers: {remove: [Host]}}}",
            "request.headers.remove[0]: a request without Host is none",
        ),
        ("call: {forward_idempotency_key: Host}", "this header is not the policy's to set"),
        (
            "process: {id_field: state}",
            "process.id_field: expected the name of a field that the document does not have",
        ),
        (
            "translate: {response: {path: /x}}",
            "routes[0].translate.response.path: unknown key; known here: body, charset",
        ),
        ('public_url: "https://h/a>b"', "routes[0].public_url: expected an absolute URL"),
        ('public_url: "https://h/a\\"b"', "routes[0].public_url: expected an absolute URL"),
        ('public_url: "http://[::1"', "routes[0].public_url: expected an absolute URL"),
        ('public_url: "http://a..b"', "routes[0].public_url: expected an absolute URL"),
        ('public_url: "http://a:99999"', "routes[0].public_url: expected an absolute URL"),
        ('deprecation: {link: "http://a..b"}', "routes[0].deprecation.link: expected an absolute URL"),
        ('deprecation: {link: "https://h/a>b"}', "routes[0].deprecation.link: expected an absolute URL"),
        ('process: {type: "a\\e[31m\\u202e"}', r'found "a\x1b[31m\u202e"'),
        ('"wait\\e": 1s', r"routes[0].wait\x1b: unknown key; did you mean wait?"),
        ("process: {type: {Claim}}", "expected a name of letters"),
        ("process: {type: {Claim}}", "if it is meant as text, write it in quotes"),
        ("process: {resource: '/a/{id}'}", "expected a path without parameters, such as /claim-submissions"),
        ("process: {resource: /a/}", "expected a path without parameters"),
        ("process: {statuses: {done: X}}", "routes[0].process.statuses.done: unknown key; known here: cancelled"),
        ("process: {statuses: {received: 1}}", "expected text, found 1; write it in quotes"),
        (
            "access: {identity: [cookie]}",
            "expected header:NAME, cookie:NAME, query:NAME, tls:subject, jwt:CLAIM or basic:user",
        ),
        ("rollout: {mode: compat}", "7:5: routes[0].rollout.percent: this key is required"),
        ("rollout: {mode: compat, percent: 101}", "expected a number from 0 to 100, found 101"),
        ("rollout: {mode: compat, percent: 1, by: host}", "expected caller, header:NAME, cookie:NAME, query:NAME or"),
        ("accept: {enforce: true}", "routes[0].accept.enforce: expected on or report, found true"),
        ("accept: {over_max_body: passthrough}", "expected 413: only a route with compat can let a body pass"),
        ("accept: {idempotency: {derive: body.}}", "routes[0].accept.idempotency.derive: expected an expression"),
        ("accept: {idempotency: {derive: {a: bodi.x}}}", "begins with bodi; it can begin with body, caller"),
        ("accept: {idempotency: {derive: {}}}", "expected an expression (JMESPath), or a mapping of names"),
        ("accept: {idempotency: {header: []}}", "expected the name of a header, or a list of names"),
        ("accept: {idempotency: {header: [A, B C]}}", 'header[1]: expected the name of a header, found "B C"'),
        ("accept: {schema: nowhere.json}", "nowhere.json cannot be read: No such file or directory"),
        (
            "cors: {origins: [app.example]}",
            "cors.origins[0]: expected an origin such as https://app.example, https://*",
        ),
        ("cors: {origins: ['https://app.example/']}", "cors.origins[0]: expected an origin"),
        ("cors: {origins: ['https://*']}", "cors.origins[0]: expected an origin"),
        ("cors: {origins: ['null']}", "cors.origins[0]: expected an origin"),
        (
            "cors: {origins: ['*'], credentials: true}",
            "cors.credentials: cookies of every page's visitors are not for `*`",
        ),
        ("cors: {headers: [A B]}", "routes[0].cors.headers[0]: expected the name of a header"),
        ("deprecation: {since: 2026-02-30}", "routes[0].deprecation.since: there is no such date"),
        ("deprecation: {since: soon}", "expected a date such as 2026-12-31, or an RFC 3339 instant"),
        ("deprecation: {since: 2026-02-01, sunset: 2026-01-01}", "expected a date that is not before `since`"),
        ("public_url: api.example.org", "expected an absolute URL such as https://api.example.org/base"),
        ("public_url: 'https://b\u00fccher.example'", "in ASCII"),
        ("public_url: 'https://u:p@example.org'", "without query and credentials"),
        ("call: {on_in_doubt: retry}", "expected attempts of at least 2: with one attempt there is nothing to retry"),
        ("call: {settle: 74s}", "expected at least 75s: the lease (15s) and the timeout (1m)"),
        ("call: {timeout: 100ms, settle: 15s}", "expected at least 15100ms"),
    ],
)
def test_a_wrong_key_of_a_route(tmp_path: Path, keys: str, said: str) -> None:
    found = errors(tmp_path, one_route(keys))
    assert said in "\n".join(found)
    assert all(line.startswith("policy.yaml:7:") for line in found)


@pytest.mark.parametrize(
    ("match", "said"),
    [
        ("{path: claims}", "expected a path such as /claims, /claims/{claim_id}/assess or /claims/*"),
        ('{path: "/a/{b}c"}', "a parameter is a whole segment, as in /claims/{claim_id}/assess, not {b}c"),
        ('{path: "/a/{b"}', "a parameter is a whole segment, as in /claims/{claim_id}/assess, not {b"),
        ('{path: "/a/b}"}', "a parameter is a whole segment, as in /claims/{claim_id}/assess, not b}"),
        ('{path: "/a/{b}/{b}"}', "the parameter {b} stands there twice"),
        ('{path: "/a*"}', "* stands only at the end, as the last segment: /claims/*"),
        ('{path: "/a/*/b"}', "* stands only at the end"),
        ('{path: "/a?b=c"}', "a path holds no ?; query terms have a key of their own, `query`"),
        ('{path: "/a#b"}', "a path holds no #"),
        ("{path: [/a, b]}", "routes[0].match.path[1]: expected a path such as"),
        ('{path: ["/a/{x}", "/a/{y}"]}', "routes[0].match.path[1]: the same as /a/{x}"),
        ("{path: []}", "expected a path such as"),
        ("{methods: [GET]}", "routes[0].match.path: this key is required"),
        ("{path: /a, methods: [get]}", 'expected a method in capitals, such as POST, found "get"'),
        ("{path: /a, methods: ['*']}", 'expected a method in capitals, such as POST, found "*"'),
        ("{path: /a, methods: []}", "expected a list that is not empty"),
        ("{path: /a, methods: POST}", 'expected a list that is not empty, found "POST"; a list of one is ["POST"]'),
        ("{path: /a, hosts: ['a.example:80']}", "expected a host name without a port"),
        ("{path: /a, headers: {X: 1}}", 'expected text, exact or with *; "*" alone for: present, found 1'),
        ("{path: /a, headers: {X: a, x: b}}", "routes[0].match.headers.x: the same header as X"),
    ],
)
def test_a_wrong_match(tmp_path: Path, match: str, said: str) -> None:
    found = errors(tmp_path, UPSTREAM + f"routes:\n  - {{name: a, upstream: legacy, match: {match}}}\n")
    assert said in found[0]
    assert found[0].startswith("policy.yaml:3:")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("{}", "upstreams.u.url: this key is required"),
        ('{url: "ftp://a"}', "upstreams.u.url: expected a URL: http://host:port/base, https://host:port/base or unix:"),
        ('{url: "http://u:p@a"}', "a URL holds no credentials here"),
        ('{url: "http://a:99999"}', "its host or port is not one"),
        ('{url: "http://a:0"}', "its host or port is not one"),
        ('{url: "http://"}', "its host or port is not one"),
        ('{url: "http://a b"}', "its host or port is not one"),
        ('{url: "http://a..b"}', "its host or port is not one"),
        (f'{{url: "http://{"x" * 64}.example"}}', "its host or port is not one"),
        (f'{{url: "http://{"x." * 130}example"}}', "its host or port is not one"),
        ('{url: "http://a?b"}', "expected a URL without query and fragment"),
        ('{url: "http://a/b/../c"}', "expected a base path in normal form"),
        ('{url: "unix:/"}', "expected the path of a socket: unix:/path.sock"),
        (
            f'{{url: "unix:/{"s" * MAX_SOCKET_PATH}"}}',
            f"expected the path of a socket, which has at most {MAX_SOCKET_PATH}",
        ),
        ('{url: "http://a", timeout: 1}', "expected a duration"),
        ('{url: "http://a", max_connections: 0}', "expected a whole number of at least 1, found 0"),
        ('{url: "http://a", upgrade: [H2C]}', "h2c is never tunnelled"),
        ('{url: "https://a", tls: {ca: nowhere.pem}}', "nowhere.pem cannot be read"),
        (
            '{url: "https://a", tls: {server_name: "a\\0b"}}',
            "tls.server_name: expected the name of a host, or an address",
        ),
        (
            '{url: "https://a", tls: {server_name: "a b"}}',
            "tls.server_name: expected the name of a host, or an address",
        ),
        ('{url: "https://a", tls: {verify: yes}}', 'expected true or false, found "yes"'),
        ('{url: "https://a", host_header: client}', "expected preserve or upstream"),
        ('{url: "http://a", forward: {xforwarded: true}}', "unknown key; did you mean x_forwarded?"),
    ],
)
def test_a_wrong_upstream(tmp_path: Path, values: str, said: str) -> None:
    found = errors(tmp_path, f"upstreams:\n  u: {values}\ndefault: {{upstream: u}}\n")
    assert [said in line for line in found] == [True], found


def test_a_private_key_needs_its_certificate(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("")
    found = errors(tmp_path, 'upstreams: {u: {url: "https://a", tls: {key: key.pem}}}\ndefault: {upstream: u}')
    assert found == ["policy.yaml:1:46: upstreams.u.tls.key: a private key needs its certificate, `cert`"]


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        ("{ca: half.pem}", "tls.ca: {}/half.pem holds no certificates; expected PEM"),
        ("{ca: key.pem}", "tls.ca: {}/key.pem holds no certificates; expected PEM"),
        (
            "{cert: cert.pem, key: other.pem}",
            "with the private key in {}/other.pem, both as PEM and without a password",
        ),
        ("{cert: cert.pem}", "expected {}/cert.pem to hold a certificate and its private key, or `key` for it"),
        ("{cert: cert.pem, key: locked.pem}", "with the private key in {}/locked.pem"),
        ("{cert: half.pem, key: key.pem}", "expected {}/half.pem to hold a certificate"),
    ],
)
def test_files_of_tls_that_are_half_written_or_mixed_up(tmp_path: Path, tls: str, said: str) -> None:
    write_certificates(tmp_path)
    (tmp_path / "half.pem").write_text((tmp_path / "cert.pem").read_text()[:200])
    (tmp_path / "other.pem").write_bytes(private_key())
    (tmp_path / "locked.pem").write_bytes(private_key(b"hush"))
    text = f'upstreams: {{u: {{url: "https://a", tls: {tls}}}}}\ndefault: {{upstream: u}}'
    with pytest.raises(PolicyErrors) as raised:
        load(tmp_path, text)
    assert said.format(tmp_path) in str(raised.value)


LATER = {
    "": ["events"],
    "routes[0]": [
        *("shadow", "split", "promote", "steps", "events"),
    ],
}


@pytest.mark.parametrize(("at", "key"), [(at, key) for at, keys in LATER.items() for key in keys])
def test_keys_of_later_work_are_refused_by_name(tmp_path: Path, at: str, key: str) -> None:
    section = at.partition("].")[2]
    keys = "" if not at else f"{section}: {{{key}: {{}}}}" if section else f"{key}: {{}}"
    found = errors(tmp_path, one_route(keys) + ("" if at else f"{key}: {{}}\n"))
    assert [line.partition(": ")[2] for line in found] == [f"{f'{at}.' if at else ''}{key}: not available yet"]


def test_every_key_of_the_schema_is_described(tmp_path: Path) -> None:
    def undescribed(schema: object, path: str) -> list[str]:
        if not isinstance(schema, dict):
            return []
        found = [f"{path}.{key}" for key, below in schema.get("properties", {}).items() if not below.get("description")]
        for key, below in {**schema.get("properties", {}), **schema.get("$defs", {})}.items():
            found += undescribed(below, f"{path}.{key}")
        return found

    assert undescribed(policy_schema(), "") == []


def test_all_errors_of_a_load_come_together_in_the_order_of_files_and_lines(tmp_path: Path) -> None:
    one = write(
        tmp_path,
        """
        upstreams:
          a: {url: "http://u:p@a", timeuot: 3s}
        route_defaults:
          call: {attemps: 3}
        routes:
          - name: one
            match: {path: "/x/{y}z"}
            upstream: nowhere
            mode: asynk
          - {name: two, match: {path: /two}, upstream: a}
        """,
        "one.yaml",
    )
    two = write(tmp_path, "routes: [\n", "two.yaml")
    three = write(tmp_path, "default: {upstream: a}\nquota: 3\n", "three.yaml")
    with pytest.raises(PolicyErrors) as raised:
        load_policy([three, two, one], {})
    assert [line.split(": ")[0:2] for line in without_folder(tmp_path, str(raised.value))] == [
        ["one.yaml:3:12", "upstreams.a.url"],
        ["one.yaml:3:28", "upstreams.a.timeuot"],
        ["one.yaml:5:10", "route_defaults.call.attemps"],
        ["one.yaml:8:19", "routes[0].match.path"],
        ["one.yaml:10:11", "routes[0].mode"],
        ["three.yaml:2:1", "quota"],
        ["two.yaml:2:1", "not YAML"],
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "policy.yaml:1:1: expected a mapping, found a list"),
        ("{}", "policy.yaml:1:1: expected routes, or a default: nothing here serves any request"),
        (UPSTREAM, "policy.yaml:1:1: expected routes, or a default: nothing here serves any request"),
        (
            UPSTREAM + "default: {upstream: lagecy}",
            "default.upstream: there is no upstream lagecy; did you mean legacy?",
        ),
        (UPSTREAM + "default: {}", "default.upstream: this key is required"),
        (UPSTREAM + "routes: {}", "policy.yaml:2:9: routes: expected a list, found a mapping"),
        (UPSTREAM + "routes: [{}]", "routes[0].name: this key is required"),
        (UPSTREAM + "routes: [{name: a b}]", "expected a name of letters, digits, dots, dashes and underscores"),
        ("<<: {a: 1}", "YAML 1.2 has no merge keys; `route_defaults` is merged under every route of a file"),
        (UPSTREAM + "route_defaults: {name: x}\nroutes: []", "route_defaults.name: each route has a name of its own"),
        (UPSTREAM + "route_defaults: 3", "route_defaults: expected a mapping, found 3"),
    ],
)
def test_a_wrong_file(tmp_path: Path, text: str, said: str) -> None:
    assert said in "\n".join(errors(tmp_path, text))


def test_every_key_that_is_missing_is_told_of(tmp_path: Path) -> None:
    text = (
        UPSTREAM
        + "route_defaults: {rollout: {}}\nroutes:\n  - {}\n  - {name: a, match: {path: /a}, upstream: legacy}\n"
    )
    assert errors(tmp_path, text) == [
        "policy.yaml:4:5: routes[0].rollout.mode: this key is required",
        "policy.yaml:4:5: routes[0].rollout.percent: this key is required",
        "policy.yaml:4:5: routes[0].name: this key is required",
        "policy.yaml:4:5: routes[0].match: this key is required",
        "policy.yaml:4:5: routes[0].upstream: this key is required",
        "policy.yaml:5:5: routes[1].rollout.mode: this key is required",
        "policy.yaml:5:5: routes[1].rollout.percent: this key is required",
    ]


def test_each_route_that_does_not_complete_its_defaults_is_told_so_at_its_own_place(tmp_path: Path) -> None:
    text = (
        UPSTREAM
        + "routes:\n  - {name: a, upstream: legacy}\n  - {name: b, upstream: legacy}\n"
        + "  - {name: c, upstream: legacy, match: {path: /c}}\n"
        + "route_defaults: {match: {methods: [POST]}}\n"
    )
    assert errors(tmp_path, text) == [
        "policy.yaml:3:5: routes[0].match.path: this key is required",
        "policy.yaml:4:5: routes[1].match.path: this key is required",
    ]


def test_names_are_unique_over_all_files(tmp_path: Path) -> None:
    text = UPSTREAM + "routes: [{name: a, match: {path: /a}, upstream: legacy}]\ndefault: {upstream: legacy}\n"
    write(tmp_path, text, "one.yaml")
    write(tmp_path, text.replace("/a", "/b"), "two.yaml")
    with pytest.raises(PolicyErrors) as raised:
        load_policy([tmp_path], {})
    assert without_folder(tmp_path, str(raised.value)) == [
        "two.yaml:1:13: upstreams.legacy: there is an upstream legacy already, at one.yaml:1:13",
        "two.yaml:2:11: routes[0].name: there is a route a already, at one.yaml:2:10",
        "two.yaml:3:1: default: there is a default already, at one.yaml:3:1",
    ]


@pytest.mark.parametrize(
    ("wrong", "too"),
    [
        ("upstream: elsewhere", "routes[0].upstream: there is no upstream elsewhere"),
        ("mode: asynk", "routes[0].mode: expected passthrough or compat or async"),
        ("call: {timeout: 5}", "routes[0].call.timeout: expected a duration"),
    ],
)
@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("outcome: [{when: {body: 'a ='}, state: failed}]", "outcome[0].when.body: expected an expression"),
        ("outcome: [{reason: 'a =', state: failed}]", "outcome[0].reason: expected an expression"),
        ("translate: {request: {body: 'a ='}}", "translate.request.body: expected an expression"),
        ("translate: {response: {body: 'a ='}}", "translate.response.body: expected an expression"),
    ],
)
def test_what_else_is_wrong_with_a_route_is_told_with_it(
    tmp_path: Path, wrong: str, too: str, keys: str, said: str
) -> None:
    lines = {"upstream": "upstream: legacy", "mode": "mode: async", wrong.partition(":")[0]: wrong}
    route = ["name: a", "match: {path: /a}", *lines.values(), keys]
    found = errors(tmp_path, UPSTREAM + "routes:\n  - " + "\n    ".join(route) + "\n")
    assert len(found) == 2, found
    assert any(too in line for line in found)
    assert any(said in line for line in found)


def test_a_further_field_for_the_id_is_none_of_the_document(tmp_path: Path) -> None:
    for name in (*STATUS_MEMBERS, *STATUS_KNOWN):
        [found] = errors(tmp_path, one_route(f"process: {{id_field: {name}}}"))
        assert "that the document does not have already" in found


def test_what_depends_on_an_upstream_that_nobody_knows_is_not_guessed(tmp_path: Path) -> None:
    text = one_route("call: {settle: 16s}").replace("upstream: legacy", "upstream: elsewhere")
    assert len(errors(tmp_path, text)) == 1
    text = one_route("call: {settle: 1s}").replace("upstream: legacy", "upstream: elsewhere")
    assert any("routes[0].call.settle: expected at least 15s" in line for line in errors(tmp_path, text))


def test_an_upstream_that_may_stand_in_an_unreadable_file_is_not_called_unknown(tmp_path: Path) -> None:
    one = write(tmp_path, "default: {upstream: legacy}", "one.yaml")
    two = write(tmp_path, "upstreams: {legacy: {", "two.yaml")
    with pytest.raises(PolicyErrors) as raised:
        load_policy([one, two], {})
    assert len(raised.value.findings) == 1


def test_paths_that_hold_no_policy_are_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyErrors, match=r"no policy files here: names that end in \.yaml or \.yml"):
        load_policy([tmp_path], {})
    with pytest.raises(PolicyErrors, match=r"nowhere\.yaml: cannot be read: No such file or directory"):
        load_policy([tmp_path / "nowhere.yaml"], {})


def test_a_policy_that_does_not_load_says_which_files_may_mend_it(tmp_path: Path) -> None:
    policy = write(tmp_path, one_route("accept: {schema: body.json}"))
    with pytest.raises(PolicyErrors) as raised:
        load_policy([policy], {})
    assert raised.value.stamps.keys() == {str(policy), str(tmp_path / "body.json")}
    assert raised.value.stamps[str(tmp_path / "body.json")] is None
