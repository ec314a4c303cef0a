"""`strangler try`: what it shows, and that it calls nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from strangler.cli import main
from strangler.config.load import load_policy
from strangler.demo.stage import POLICY as POLICY_OF_DEMO
from strangler.runtime.trial import Message, attempt

POLICY = """\
upstreams: {legacy: {url: "http://127.0.0.1:1"}}
routes:
  - name: claims
    match: {path: /claims, methods: [POST]}
    upstream: legacy
    mode: async
    wait: 2s
    translate:
      request: {body: {ANFRAGE: {POLNR: body.policy}}, format: xml, charset: iso-8859-1}
      response: {body: {claim: reply.body.NR}}
    outcome:
      - {when: {body: "CODE == 'NO'"}, state: rejected, status: DECLINED, reason: "'no cover'"}
  - {name: other, match: {path: /other}, upstream: legacy}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "request").write_text(
        'POST /claims HTTP/1.1\nHost: a\nContent-Type: application/json\nPrefer: respond-async\n\n{"policy": "Pü"}'
    )
    (tmp_path / "reply").write_bytes(
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"CODE": "NO", "NR": 7}'
    )
    return tmp_path


def test_it_shows_what_would_be_sent_and_what_the_reply_would_be_taken_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["try", "claims", "--request", "request", "--reply", "reply"]) == 0
    shown = capsys.readouterr().out
    for line in (
        "route     claims",
        "decision  async (mode of the route; Prefer: respond-async)",
        "sent to legacy",
        "  POST /claims",
        "  Content-Type: application/xml; charset=iso-8859-1",
        '  <?xml version="1.0" encoding="iso-8859-1"?><ANFRAGE><POLNR>Pü</POLNR></ANFRAGE>',
        "rule      outcome[0]",
        "outcome   rejected, effect none",
        '    "state": "rejected",',
        '    "status": "DECLINED",',
        '    "reason": "no cover",',
        '  {"claim":7}',
    ):
        assert line in shown.splitlines(), shown


def test_the_result_is_what_the_client_gets_with_what_is_ours(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "policy.yaml").write_text(
        'upstreams: {legacy: {url: "http://127.0.0.1:1"}}\n'
        "routes: [{name: claims, match: {path: /claims, methods: [POST]}, upstream: legacy, mode: async, "
        "public_url: https://api.example, process: {resource: /claims-in-work}, call: {max_reply: 1KiB}}]\n"
    )
    reply = "HTTP/1.1 202 Accepted\nContent-Type: application/json\nLocation: /claims/7\nSet-Cookie: a=b\nAge: 3\n\n{}"
    (folder / "reply").write_text(reply)
    assert main(["try", "claims", "--request", "request", "--reply", "reply"]) == 0
    status, *shown = capsys.readouterr().out.partition("\nresult\n")[2].splitlines()
    assert (status, shown[-1]) == ("  200", "  {}")
    fields = dict(line.strip().split(": ", 1) for line in shown if ": " in line)
    process = fields.pop("Strangler-Process")
    assert process.startswith("https://api.example/claims-in-work/")
    assert fields == {
        "Content-Type": "application/json",
        "Location": "https://api.example/claims/7",
        "Cache-Control": "private, no-store",
        "Strangler-Status": "202",
    }
    (folder / "reply").write_text(reply.replace("{}", '{"much": "' + "x" * 1024 + '"}'))
    assert main(["try", "claims", "--request", "request", "--reply", "reply"]) == 0
    assert '"code": "result-too-large"' in capsys.readouterr().out


def test_a_reply_that_is_left_in_its_own_words_is_shown_to_nobody(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "policy.yaml").write_text(POLICY.replace("    wait: 2s\n", "    call: {on_in_doubt: fail}\n"))
    (folder / "reply").write_text('HTTP/1.1 504 X\nContent-Type: application/json\n\n{"host": "mf1"}')
    assert main(["try", "claims", "--request", "request", "--reply", "reply"]) == 0
    shown = capsys.readouterr().out
    assert '"code": "upstream-failed"' in shown
    assert "mf1" not in shown


def test_without_a_reply_it_ends_with_what_would_be_sent(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["try", "claims", "--request", "request", "--policy", "policy.yaml"]) == 0
    shown = capsys.readouterr().out
    assert '"state": "processing"' in shown
    assert "rule" not in shown


def test_the_caller_the_key_and_the_references_are_as_they_would_be(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = (
        "    access: {name: header:X-Name}\n"
        "    process: {references: {policy: body.policy, number: reply.body.NR, public: [policy, number]}}\n"
        "    call: {forward_idempotency_key: X-Key}\n"
    )
    policy = POLICY.replace("    wait: 2s\n", keys).replace(
        "{ANFRAGE: {POLNR: body.policy}}", "{A: {WHO: caller.name, KEY: process.idempotencyKey}}"
    )
    (folder / "policy.yaml").write_text(policy)
    request = (folder / "request").read_text().replace("Host: a\n", 'Host: a\nX-Name: joe\nIdempotency-Key: "k1"\n')
    (folder / "request").write_text(request)
    assert main(["try", "claims", "--request", "request", "--reply", "reply"]) == 0
    shown = capsys.readouterr().out
    assert "<A><WHO>joe</WHO><KEY>k1</KEY></A>" in shown
    assert '  X-Key: "k1"' in shown.splitlines()
    assert '    "idempotencyKey": "k1",' in shown.splitlines()
    assert '"policy": "Pü",\n      "number": "7"' in shown


def test_a_request_that_falls_elsewhere_is_told_and_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "request").write_text("GET /other\n\n")
    assert main(["try", "claims", "--request", "request"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "route     other",
        "decision  passthrough (mode of the route)",
        "sent      as it came",
    ]
    (folder / "request").write_text("GET /nowhere\n\n")
    assert main(["try", "claims", "--request", "request"]) == 1
    assert "route     none" in capsys.readouterr().out


def test_a_request_that_cannot_be_translated_is_told_and_fails(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "request").write_text("POST /claims\nContent-Type: application/json\n\n{")
    assert main(["try", "claims", "--request", "request"]) == 1
    assert "refused   400: the body is not readable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["clams", "--request", "request"], "there is no route clams; did you mean claims?"),
        (["claims", "--request", "none"], "none cannot be read"),
        (["claims", "--request", "reply"], "reply:1: expected a request line"),
        (["claims", "--request", "request", "--reply", "request"], "request:1: expected a status line"),
        (["claims", "--request", "bad"], "bad:2: expected a header"),
        (["claims", "--request", "endless"], "endless has more than 32 MiB"),
    ],
)
def test_wrong_usage_is_told(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    (folder / "bad").write_text("POST /claims\nnonsense\n\n")
    (folder / "endless").symlink_to("/dev/zero")
    assert main(["try", *arguments]) == 2
    assert said in capsys.readouterr().err


PROBE = """\
    call:
      on_in_doubt: probe
      probe: {path: "/search/{body.policy}/{process.id}", headers: {set: {X-Asked: "1"}}, applied: {status: 200}}
"""


def test_it_shows_what_would_be_asked_if_nobody_knew_what_the_call_did(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "policy.yaml").write_text(POLICY.replace("    translate:\n", PROBE + "    translate:\n"))
    assert main(["try", "claims", "--request", "request"]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("in doubt  asked of legacy")
    assert lines[start + 1].startswith("  GET /search/P%C3%BC/0")
    assert "  X-Asked: 1" in lines[start:]
    (folder / "request").write_text('POST /claims HTTP/1.1\nHost: a\nContent-Type: application/json\n\n{"policy": ""}')
    assert main(["try", "claims", "--request", "request"]) == 0
    assert "in doubt  nobody could ask what it did: body.policy is empty, which cannot" in capsys.readouterr().out


def test_a_secret_of_the_policy_is_not_shown(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "hush-hush")
    probe = (
        "probe: {path: '/s/{process.id}', applied: {status: 200}, absent: {status: 404}, "
        "headers: {set: {X-Key: '${secret-env:TOKEN}'}}}"
    )
    call = "call: {headers: {set: {Authorization: 'Bearer ${secret-env:TOKEN}', X-Plain: seen}}, on_in_doubt: probe, "
    rewrite = "rewrite: {add_prefix: '/p/${secret-env:TOKEN}'}"
    text = POLICY.replace("    wait: 2s\n", f"    {call}{probe}}}\n    {rewrite}\n")
    (folder / "policy.yaml").write_text(text.replace("127.0.0.1:1", "127.0.0.1:1/base/${secret-env:TOKEN}"))
    assert main(["try", "claims", "--request", "request", "--reply", "reply"]) == 0
    captured = capsys.readouterr()
    assert "hush" not in captured.out + captured.err
    assert "  POST /(a secret)/(a secret)/" in captured.out
    assert "  GET /(a secret)/s/" in captured.out
    assert {"  Authorization: a secret", "  X-Key: a secret", "  X-Plain: seen"} <= set(captured.out.splitlines())


def test_where_no_policy_lies_the_flag_that_names_one_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "policy.yaml").rename(folder / "routes.yaml")
    arguments = ["try", "claims", "--request", "request"]
    assert main(arguments) == 2
    assert capsys.readouterr().err == "there is no policy.yaml here; say where the policy lies: --policy PATH\n"
    assert main([*arguments, "--policy", "routes.yaml"]) == 0


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (201, "completed, effect applied"),
        (404, "rejected, effect none"),
        (500, "failed, effect unknown"),
        (504, "in doubt: gateway-lost-it"),
    ],
)
def test_what_a_reply_comes_to_is_said_in_words(
    folder: Path, capsys: pytest.CaptureFixture[str], status: int, said: str
) -> None:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n\r\n"
    (folder / "reply").write_text(head + '{"CODE": "YES", "NR": 7}')
    assert main(["try", "claims", "--request", "request", "--reply", "reply"]) == 0
    assert f"outcome   {said}" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("accept", "head", "body", "said"),
    [
        ("content_types: [text/xml]", "Content-Type: application/json", "{}", "415: application/json was sent; taken"),
        ("require_headers: [X-Needed]", "Content-Type: application/json", "{}", "400: the header X-Needed is required"),
        ("max_body: 3B", "Content-Type: application/json", "{  }", "413: at most 3 bytes are taken"),
        ("idempotency: {required: true}", "X: y", "{}", "400: the header Idempotency-Key is required"),
        ("{}", 'Idempotency-Key: "a', "{}", "400: expected a quoted string or a token"),
        ("schema: s.json", "Content-Type: application/json", '{"a": 1}', "422: /a: "),
    ],
)
def test_what_accept_would_refuse_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], accept: str, head: str, body: str, said: str
) -> None:
    (folder / "s.json").write_text('{"properties": {"a": {"type": "string"}}}')
    rules = accept if accept == "{}" else f"{{{accept}}}"
    plain = POLICY.split("    translate:")[0] + f"    accept: {rules}\n"
    (folder / "policy.yaml").write_text(plain)
    (folder / "request").write_text(f"POST /claims HTTP/1.1\nHost: a\n{head}\n\n{body}")
    assert main(["try", "claims", "--request", "request"]) == 1
    assert f"refused   {said}" in capsys.readouterr().out
    (folder / "policy.yaml").write_text(plain.replace("accept: {", "accept: {enforce: report, ").replace(", }", "}"))
    code = main(["try", "claims", "--request", "request"])
    shown = capsys.readouterr().out
    assert (code, "refused" in shown) == (0, False)
    assert ("sent      as it came" in shown) is ("max_body" in accept)  # it cannot be recorded, so it goes through


def test_a_path_that_is_not_clear_and_another_route_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "policy.yaml").write_text(POLICY.replace("path: /claims,", 'path: "/claims/{id}",'))
    (folder / "request").write_text("POST /claims/%zz HTTP/1.1\nHost: a\n\n")
    assert main(["try", "claims", "--request", "request"]) == 1
    assert "refused   400: the path holds a % that encodes nothing" in capsys.readouterr().out
    assert main(["try", "other", "--request", "request"]) == 1
    assert capsys.readouterr().err == "the request falls on claims, not on other\n"


def test_a_claim_of_the_demo_is_found_by_its_policy_and_by_its_number() -> None:
    table = load_policy([POLICY_OF_DEMO], {}).table
    fields = [(b"Host", b"a"), (b"Content-Type", b"application/json")]
    request = Message("POST /claims", fields, b'{"policyNumber": "P-1003", "amount": 2000}')
    reply = Message("201", fields[1:], b'{"claimNumber": "C-0001", "policyNumber": "P-1003"}')
    process = asyncio.run(attempt(table, request, reply)).process
    assert process is not None
    assert process.business_references == '{"policyNumber":"P-1003","claimNumber":"C-0001"}'
