"""`translate`, `outcome` and `errors` of a policy: what they load to, what is wrong or unwise, what is promised."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from strangler.config import promise
from strangler.config.hooks import NoHook, find_hook, kept_hook
from strangler.domain.process import Effect
from strangler.policy.wall import Condition, ErrorForm, Formula, OutcomeRule, Wall
from tests.config.scene import advice, errors, load, load_route, one_route, write

EVERYTHING = """
translate:
  request:
    source: {format: xml, charset: windows-1252, lists: [a], namespaces: {p: "urn:p"}}
    template: t.xml
    format: soap
    soap: {version: 1.2, action: "urn:x", header: {S: method}}
    namespaces: {"": "urn:y"}
    headers: {set: {X-A: "{method}"}, remove: [X-*]}
    path: /x/{path.id}
    method: PUT
  reply: {charset: iso-8859-1}
  response:
    - {when: {status: 2xx, headers: {X: "*"}, body: a}, body: {python: "tests.config.test_translating:hook"}}
    - {body: reply.body, status: 201}
outcome:
  - {when: {status: [200, "404-410"]}, state: rejected, status: NO, reason: text, effect: unknown}
  - {state: in_doubt}
"""


def hook(document: Mapping[str, Any]) -> Any:
    return document


async def slow_hook(document: Mapping[str, Any]) -> Any:
    return document


def needy_hook(document: Mapping[str, Any], other: int) -> Any:
    return document


not_a_hook = 7


def the_wall(folder: Path, keys: str) -> Wall:
    found = load_route(folder, keys).promise.wall
    assert found is not None
    return found.wall


def test_a_route_without_any_has_no_wall(tmp_path: Path) -> None:
    route = load_route(tmp_path)
    assert (route.promise.wall, route.errors) == (None, None)


@pytest.mark.parametrize("expression", ["body.a || body.b", "join('#', [body.a, body.b])"])
def test_what_stands_in_the_braces_of_a_path_is_an_expression_like_any(tmp_path: Path, expression: str) -> None:
    path = f"/x/{{{expression}}}"
    request = the_wall(tmp_path, f'translate: {{request: {{path: "{path}"}}}}').request
    assert request is not None
    assert request.path == path


def test_a_rule_is_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path, "<a>{method}</a>", "t.xml")
    assert the_wall(tmp_path, EVERYTHING).outcome == (
        OutcomeRule(
            when=Condition(statuses=((200, 200), (404, 410))),
            state="rejected",
            status="NO",
            reason=Formula(text="text"),
            effect=Effect.UNKNOWN,
        ),
        OutcomeRule(when=Condition(), state="in_doubt"),
    )


def test_what_is_promised_survives_as_text_with_the_content_of_its_files(tmp_path: Path) -> None:
    write(tmp_path, "<a>{method}</a>", "t.xml")
    loaded = load(tmp_path, one_route(EVERYTHING))
    promised = loaded.table.routes["claims"].promise
    text = loaded.promises[promised.digest]
    assert "<a>{method}</a>" in text
    kept = promise.read(promised.digest, text)
    assert kept.wall is not None
    assert promised.wall is not None
    assert kept.wall.wall == promised.wall.wall


def test_another_template_is_another_promise(tmp_path: Path) -> None:
    digests = set()
    for template in ("<a>{method}</a>", "<b>{method}</b>"):
        write(tmp_path, template, "t.xml")
        digests.add(load_route(tmp_path, EVERYTHING).promise.digest)
    assert len(digests) == 2


def test_a_promise_without_a_wall_is_the_text_that_it_always_was(tmp_path: Path) -> None:
    loaded = load(tmp_path, one_route())
    content = json.loads(loaded.promises[loaded.table.routes["claims"].promise.digest])
    assert content["format"] == 1
    assert "wall" not in content


def test_a_promise_with_a_wall_is_not_read_by_versions_that_know_none(tmp_path: Path) -> None:
    loaded = load(tmp_path, one_route("outcome: [{state: failed}]"))
    assert json.loads(loaded.promises[loaded.table.routes["claims"].promise.digest])["format"] == 2


def test_a_promised_function_that_is_gone_fails_when_it_is_called() -> None:
    with pytest.raises(NoHook, match="nowhere cannot be imported"):
        kept_hook("nowhere:function")({})
    assert find_hook("tests.config.test_translating:hook") is hook


def test_a_module_that_ends_the_program_is_none_of_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "raise SystemExit(3)", "ends_the_program.py")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NoHook, match="ends_the_program cannot be imported: SystemExit: 3"):
        find_hook("ends_the_program:function")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("outcome: [{when: {body: 'a ==='}, state: failed}]", "outcome[0].when.body: expected an expression"),
        ("outcome: [{when: {status: 9xx}, state: failed}]", "expected a status such as 200, 2xx or 400-499"),
        ("outcome: [{when: {status: 499-400}, state: failed}]", "expected a range that goes up"),
        ("outcome: [{state: pending}]", "expected call.follow"),
        ("outcome: [{state: declined}]", "expected completed or rejected or failed or retry or pending or in_doubt"),
        ("outcome: [{when: {}}]", "outcome[0].state: this key is required"),
        ("outcome: {state: failed}", "outcome: expected a list of rules"),
        ("outcome: [{state: failed, whem: {}}]", "outcome[0].whem: unknown key; did you mean when?"),
        ("translate: {request: {body: pol_no}}", "begins with pol_no; it can begin with body, caller"),
        ("translate: {request: {body: reply.body}}", "begins with reply"),
        ("translate: {response: {body: {a: 'foo(reply)'}}}", "there is no function foo()"),
        ("translate: {response: [{status: '1 +'}]}", "translate.response[0].status: expected an expression"),
        ("translate: {request: {body: body, template: t.xml}}", "expected a body or a template, not both"),
        ("translate: {request: {template: t.xml}}", "JSON is made from `body`"),
        ("translate: {request: {format: xml}}", "expected a body or a template to be written in this format"),
        (
            "translate: {request: {body: {a: body, b: body}, format: xml}}",
            "request.body: expected a mapping of one name",
        ),
        (
            "translate: {response: {body: {1a: reply.body}, format: xml}}",
            "response.body: '1a' is no name of an element",
        ),
        ("translate: {request: {body: {a b: body}, format: soap}}", "request.body: 'a b' is no name of an element"),
        ("translate: {request: {template: none.xml, format: xml}}", "none.xml cannot be read"),
        ("translate: {request: {template: bad.xml, format: xml}}", "it is no XML"),
        ("translate: {request: {template: open.xml, format: xml}}", "is not closed"),
        ("translate: {request: {template: latin.xml, format: xml}}", "is not UTF-8"),
        (
            "translate: {request: {body: body, format: form, charset: utf-16}}",
            "a form is ASCII, and that is something else",
        ),
        (
            "translate: {request: {body: body, format: form, charset: cp500}}",
            "a form is ASCII, and that is something else",
        ),
        ("translate: {request: {body: body, charset: klingon}}", "no charset is known by the name klingon"),
        ("translate: {request: {body: body, charset: zlib}}", "no charset is known by the name zlib"),
        ("translate: {request: {body: body, charset: punycode}}", "no charset is known by the name punycode"),
        ("translate: {request: {path: '/a b'}}", "all that does not stand in braces is percent-encoded"),
        ("translate: {request: {path: '/a#{body.b || body.c}'}}", "all that does not stand in braces is percent-enc"),
        ("translate: {request: {path: '/ä'}}", "percent-encoded"),
        ("translate: {request: {method: post}}", "expected a method in capitals"),
        ("translate: {request: {headers: {set: {Host: a}}}}", "not the policy's to set"),
        ("translate: {response: {headers: {set: {Transfer-Encoding: a}}}}", "not the policy's to set"),
        ("translate: {request: {headers: {set: {X-A: a, x-a: b}}}}", "the same header as X-A"),
        ("translate: {request: {headers: {set: {X-A: '{b'}}}}", "is not closed"),
        ("translate: {request: {format: text, body: body}}", "expected json or xml or soap or form"),
        ("translate: {request: {body: {python: 'nowhere:f'}}}", "nowhere cannot be imported"),
        ("translate: {request: {body: {python: 'tests.config.test_translating:none'}}}", "there is no function none"),
        ("translate: {request: {body: {python: 'tests.config.test_translating:not_a_hook'}}}", "there is no function"),
        ("translate: {request: {body: {python: 'tests.config.test_translating:slow_hook'}}}", "is asynchronous"),
        ("translate: {request: {body: {python: 'tests.config.test_translating:needy_hook'}}}", "with one document"),
        ("translate: {request: {body: {python: 'a b:c'}}}", "expected package.module:function"),
        (
            "errors: soap13",
            "expected problem, soap11, soap12, text or a file .xml, .html or .txt; did you mean soap12?",
        ),
        ("errors: html", "expected problem, soap11, soap12, text or a file .xml, .html or .txt"),
        ("errors: none.xml", "none.xml cannot be read"),
        ("errors: wrong.html", "begins with body"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, keys: str, said: str) -> None:
    write(tmp_path, "<a/>", "t.xml")
    write(tmp_path, "<a>", "bad.xml")
    write(tmp_path, "<a>{b</a>", "open.xml")
    write(tmp_path, "{body}", "wrong.html")
    (tmp_path / "latin.xml").write_bytes(b"<a>\xff</a>")
    found = errors(tmp_path, one_route(keys))
    assert len(found) == 1, found
    assert said in found[0]


def test_a_mapping_that_has_a_member_called_python_is_no_hook(tmp_path: Path) -> None:
    wall = the_wall(tmp_path, "translate: {request: {body: {python: body.a, b: body.b}}}")
    assert wall.request is not None
    assert wall.request.content.body == Formula(text='{"python": body.a, "b": body.b}')


def test_a_secret_cannot_stand_in_what_is_promised(tmp_path: Path) -> None:
    keys = "translate: {request: {headers: {set: {X-Key: '${secret-env:KEY}'}}}}"
    (found,) = errors(tmp_path, one_route(keys), {"KEY": "s"})
    assert "a secret cannot stand here" in found


@pytest.mark.parametrize(
    ("keys", "mode", "said"),
    [
        ("outcome: [{state: failed}]", "passthrough", "outcome: has no effect"),
        ("translate: {reply: {format: json}}", "passthrough", "translate: has no effect"),
        ("errors: text", "passthrough", "errors: has no effect"),
        ("outcome: [{state: failed}, {when: {status: 200}, state: completed}]", "async", "outcome[1]: never reached"),
        ("translate: {response: [{body: body}, {status: 200}]}", "async", "[1]: never reached"),
        ("outcome: [{state: retry, status: X}]", "async", "outcome[0].status: has no effect"),
        ("outcome: [{state: in_doubt, effect: none}]", "async", "outcome[0].effect: has no effect"),
        ("outcome: [{state: completed, effect: none}]", "async", "lets clients send again"),
    ],
)
def test_what_is_unwise_is_told(tmp_path: Path, keys: str, mode: str, said: str) -> None:
    assert said in "\n".join(advice(tmp_path, one_route(keys, mode=mode)))


def test_errors_in_a_file_have_its_media_type(tmp_path: Path) -> None:
    write(tmp_path, "<p>{title}</p>", "e.html")
    expected = ErrorForm(kind="template", template="<p>{title}</p>", media_type="text/html; charset=utf-8")
    assert load_route(tmp_path, "errors: e.html").errors == expected
    assert load_route(tmp_path, "errors: soap12").errors == ErrorForm(kind="soap12")
    assert load_route(tmp_path, "errors: problem").errors is None
