from __future__ import annotations

from pathlib import Path

import pytest

from strangler.config.load import load_policy
from strangler.config.located import PolicyErrors
from tests.config.scene import UPSTREAM, advice, errors, load, load_route, one_route, without_folder, write


def header(folder: Path, value: str, **environ: str) -> str:
    """What becomes of a header's value in a policy."""
    loaded = load(folder, one_route(f"call: {{headers: {{set: {{X-Value: '{value}'}}}}}}"), environ)
    return loaded.table.routes["claims"].call.set_headers[0][1]


def test_variables_stand_in_values_and_in_parts_of_them(tmp_path: Path) -> None:
    assert header(tmp_path, "${env:ONE}", ONE="1") == "1"
    assert header(tmp_path, "a-${env:ONE}-${env:TWO}", ONE="1", TWO="2") == "a-1-2"


def test_a_default_stands_in_for_what_is_unset_or_empty(tmp_path: Path) -> None:
    assert header(tmp_path, "${env:ONE:-x:-y}") == "x:-y"
    assert header(tmp_path, "${env:ONE:-x}", ONE="") == "x"
    assert header(tmp_path, "${env:ONE:-}") == ""
    assert header(tmp_path, "${env:ONE}", ONE="") == ""


def test_what_is_inserted_is_not_looked_at_again(tmp_path: Path) -> None:
    assert header(tmp_path, "${env:ONE}", ONE="${env:TWO}", TWO="2") == "${env:TWO}"


def test_two_dollars_escape(tmp_path: Path) -> None:
    assert header(tmp_path, "$${env:ONE} costs $5") == "${env:ONE} costs $5"


def test_a_file_is_inserted_without_its_line_end_and_by_a_path_beside_the_policy(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    assert header(tmp_path, "Bearer ${file:token}") == "Bearer s3cret"
    assert header(tmp_path, f"${{file:{tmp_path / 'token'}}}") == "s3cret"


def test_values_are_typed_after_insertion(tmp_path: Path) -> None:
    text = """
        upstreams:
          legacy:
            url: "${env:URL}"
            max_connections: "${env:COUNT}"
            forward: {via: "${env:VIA}"}
            timeout: ${env:NUMBER}s
        default: {upstream: legacy}
    """
    upstream = load(tmp_path, text, {"URL": "http://a:1", "COUNT": "7", "VIA": "false", "NUMBER": "9"}).table.upstreams[
        "legacy"
    ]
    assert (upstream.max_connections, upstream.forward.via, upstream.timeout) == (7, False, 9.0)


def test_text_stays_text_where_text_is_expected(tmp_path: Path) -> None:
    assert header(tmp_path, "${env:ONE}", ONE="0123") == "0123"
    text = one_route('process: {statuses: {received: "${env:WORD}"}}')
    process = load(tmp_path, text, {"WORD": "true"}).table.routes["claims"].process
    assert list(process.statuses.values()) == ["true"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("${env:MISSING}", "the environment has no MISSING"),
        ("${secret-env:MISSING}", "the environment has no MISSING"),
        ("${file:nowhere}", "nowhere cannot be read: No such file or directory"),
        ("${enw:X}", "expected ${env:NAME}, ${env:NAME:-default}, ${file:PATH} or ${secret-env:NAME}"),
        ("${secret-env:X:-y}", "expected ${env:NAME}"),
        ("${file:}", "expected ${env:NAME}"),
        ("${env:X", "a variable is not closed"),
        ("${}", "expected ${env:NAME}"),
    ],
)
def test_a_variable_that_cannot_be_inserted_is_an_error_in_its_place(tmp_path: Path, value: str, said: str) -> None:
    found = errors(tmp_path, one_route(f"call: {{headers: {{set: {{X-Value: '{value}'}}}}}}"))
    assert len(found) == 1
    assert found[0].startswith("policy.yaml:7:37: routes[0].call.headers.set.X-Value: ")
    assert said in found[0]


@pytest.mark.parametrize("content", ["", "\n", " \r\n\n"])
def test_an_empty_file_is_no_secret(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    found = errors(tmp_path, one_route("call: {headers: {set: {X-Value: 'Bearer ${file:token}'}}}"))
    assert found == ["policy.yaml:7:37: routes[0].call.headers.set.X-Value: token is empty"]


def test_octets_of_the_environment_that_are_no_text_are_an_error(tmp_path: Path) -> None:
    text = one_route("process: {statuses: {received: '${env:WORD}'}}")
    with pytest.raises(PolicyErrors, match="what the environment has as WORD is not UTF-8"):
        load(tmp_path, text, {"WORD": "\udcff"})


def test_offline_what_cannot_be_resolved_is_a_note(tmp_path: Path) -> None:
    text = """
        upstreams:
          legacy: {url: "${env:URL}", timeout: "${env:T}", max_connections: "${env:N}", tls: {ca: /nowhere/ca.pem}}
          second: {url: "https://${env:HOST}:8443/", tls: {verify: "${env:V}", ca: /nowhere/ca.pem}}
        routes:
          - name: claims
            match: {path: /claims, methods: ["${env:M}"]}
            upstream: legacy
            mode: ${env:MODE}
            access: {identity: ["${env:I}"], name: "${env:L}"}
            accept: {schema: "nowhere.json"}
        default: {upstream: second}
    """
    loaded = load(tmp_path, text, offline=True)
    notes = [finding.text for finding in loaded.findings if finding.level == "note"]
    for name in ("URL", "T", "N", "HOST", "V", "MODE", "I", "L", "M"):
        assert f"the environment has no {name}" in notes
    assert any("nowhere.json cannot be read" in note for note in notes)
    assert any("ca.pem cannot be read" in note for note in notes)
    assert loaded.table.upstreams["second"].host.startswith("unresolved-")
    with pytest.raises(PolicyErrors):
        load(tmp_path, text)


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    secret = "hunter2hunter2"
    environ = {"SECRET": secret}
    text = UPSTREAM + (
        "routes:\n"
        '  - {name: "${secret-env:SECRET}", match: {path: /a}, upstream: legacy}\n'
        '  - {name: a, match: {path: "/x{${secret-env:SECRET}"}, upstream: "${secret-env:SECRET}"}\n'
        '  - {name: b, match: {path: /b}, upstream: legacy, mode: "${secret-env:SECRET}"}\n'
        '  - {name: c, match: {path: /c}, upstream: legacy, call: {attempts: "${secret-env:SECRET}"}}\n'
        '  - {name: d, match: {path: /d}, upstream: legacy, accept: {schema: "${secret-env:SECRET}"}}\n'
    )
    found = errors(tmp_path, text, environ)
    assert len(found) >= 6
    assert secret not in "\n".join(found)


def test_a_secret_in_use_does_not_show_in_the_table_nor_in_its_revision(tmp_path: Path) -> None:
    text = one_route("call: {headers: {set: {Authorization: 'Bearer ${secret-env:TOKEN}'}}}")
    loaded = load(tmp_path, text, {"TOKEN": "hunter2"})
    assert loaded.table.routes["claims"].call.set_headers == (("Authorization", "Bearer hunter2"),)
    assert "hunter2" not in repr(loaded)
    assert loaded.table.revision == load(tmp_path, text, {"TOKEN": "other"}).table.revision


@pytest.mark.parametrize(
    "keys",
    [
        "process: {type: '${secret-env:S}'}",
        "access: {name: 'header:${secret-env:S}'}",
        "public_url: 'https://${secret-env:S}'",
    ],
)
def test_a_secret_cannot_stand_in_what_is_stored(tmp_path: Path, keys: str) -> None:
    found = errors(tmp_path, one_route(keys), {"S": "hunter2"})
    assert [line.rpartition(": ")[2] for line in found] == ["this is stored with each process"]
    assert "hunter2" not in found[0]


def test_a_changed_secret_file_makes_another_revision(tmp_path: Path) -> None:
    policy = write(tmp_path, one_route("call: {headers: {set: {X: '${file:token}'}}}"))
    (tmp_path / "token").write_text("one")
    first = load_policy([policy], {})
    (tmp_path / "token").write_text("longer")
    second = load_policy([policy], {})
    assert first.table.revision != second.table.revision
    assert str(tmp_path / "token") in second.stamps


def test_plain_variables_may_stand_anywhere(tmp_path: Path) -> None:
    route = load_route(tmp_path, "process: {type: '${env:TYPE:-Claim}'}\npublic_url: 'https://${env:H:-a.example}/b/'")
    assert (route.process.type, route.public_url) == ("Claim", "https://a.example/b")
    assert without_folder(tmp_path, f"{tmp_path}/x") == ["x"]
    assert advice(tmp_path, UPSTREAM + "default: {upstream: legacy}") == []
