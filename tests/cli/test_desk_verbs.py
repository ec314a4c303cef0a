"""The verbs of the support desk against a real server on its sockets."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from strangler.cli import main
from strangler.cli.processes import process_id
from strangler.cli.showing import safe
from strangler.domain.errors import StoreUnavailable
from strangler.operations.api.tokens import Tokens, pass_path
from strangler.ports import Found, Search
from strangler.runtime.listeners import bind_path
from tests.operations.desk_stage import Desk, a_desk

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STRANGLER_OPS", "STRANGLER_STORE", "STRANGLER_OPS_TOKEN", "SUDO_USER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOGNAME", "alice")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as desk:
        yield desk


@pytest.fixture
def run(desk: Desk, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line on the machine of the server: exit code, standard output, standard error."""

    async def ask(*arguments: str, store: bool = True) -> tuple[int, str, str]:
        given = [*arguments, *(("--store", desk.store_url) if store else ())]
        code = await asyncio.to_thread(main, given)
        told = capsys.readouterr()
        return code, told.out, told.err

    return ask


async def test_processes_are_listed_as_a_table_and_as_json(desk: Desk, run: Run) -> None:
    one = await desk.submit({"policyNumber": "P-1003"}, X_Client="broker-a", Idempotency_Key='"key-1"')
    other = await desk.submit({"answer": 422})
    await asyncio.gather(desk.settled(one), desk.settled(other))
    code, out, err = await run("processes", "list")
    heads, first, second = out.splitlines()
    assert (code, err) == (0, "")
    assert heads.split() == ["ID", "ACCEPTED", "ROUTE", "STATE", "STATUS", "CALLER", "REASON"]
    assert first.split()[0] == other
    assert second.split() == [one, *second.split()[1:3], "submit-claim", "completed", "SETTLED", "broker-a"]
    for wish in (["--key", "key-1"], ["--reference", "P-1003"], ["--caller", "broker-a", "--since", "1h"]):
        _, out, _ = await run("processes", "list", *wish, "--json")
        assert [process["id"] for process in json.loads(out)["processes"]] == [one], wish
    _, out, _ = await run("processes", "list", "--until", "2h", "--json")
    assert json.loads(out) == {"processes": [], "looked": 0}


async def test_a_list_goes_on_until_there_are_as_many_as_were_asked_for(desk: Desk, run: Run) -> None:
    ids = [await desk.submit(path="/open") for _ in range(5)]
    _, out, _ = await run("processes", "list", "--limit", "3")
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ids[:1:-1]
    cursor = out.split("--cursor ")[1].strip()
    _, out, _ = await run("processes", "list", "--limit", "0", "--cursor", cursor, "--json")
    assert [process["id"] for process in json.loads(out)["processes"]] == ids[1::-1]


async def test_wrong_wishes_are_told_in_words_of_the_command_line(
    desk: Desk, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = await run("processes", "list", "--text", "timeout")
    assert (code, err) == (2, "--text: within which time? Give --since as well, as in --since 1d\n")
    assert (await run("processes", "list", "--text", "timeout", "--since", "1d"))[0] == 0
    for verb, limit, expected in (
        ("processes list", "-1", "expected a whole number, found '-1'"),
        ("exceptions list", "-1", "expected a whole number, found '-1'"),
        ("deliveries list", "0", "expected a whole number from 1 to 200, found '0'"),
        ("audit", "201", "expected a whole number from 1 to 200, found '201'"),
        ("audit", "٣", "expected a whole number from 1 to 200, found '٣'"),
    ):
        with pytest.raises(SystemExit):
            await run(*verb.split(), f"--limit={limit}")
        assert f"argument --limit: {expected}\n" in capsys.readouterr().err


async def test_one_process_answers_the_three_questions_first(desk: Desk, run: Run) -> None:
    one = await desk.submit({"policyNumber": "P-1003", "iban": "DE01", "answer": 500})
    await desk.settled(one)
    code, out, _ = await run("processes", "show", f"https://claims.example/claim-submissions/{one}/status")
    fields = dict(line.split("  ", 1) for line in out.split("\n\n")[0].splitlines() if "  " in line)
    assert code == 0
    assert (fields["process"].strip(), fields["state"].strip()) == (one, "failed")
    assert "nobody knows" in out.split("try again?")[1].splitlines()[0]
    assert "Finish" in out
    assert "POST /claims" in out
    assert '"policyNumber": "P-1003"' in out
    assert "DE01" not in out
    _, out, _ = await run("processes", "show", one, "--json")
    assert json.loads(out)["id"] == one


@pytest.mark.parametrize(
    ("answer", "said"), [({"answer": 422}, "yes:"), ({}, "no: the legacy"), ({"hold": True}, "no need")]
)
async def test_whether_to_try_again_is_said_in_words(desk: Desk, run: Run, answer: dict[str, Any], said: str) -> None:
    one = await desk.submit(answer, path="/open")
    if "hold" not in answer:
        await desk.settled(one)
    _, out, _ = await run("processes", "show", one)
    assert said in out.split("try again?")[1].splitlines()[0]


async def test_what_a_process_holds_cannot_move_the_cursor_of_a_terminal(desk: Desk, run: Run) -> None:
    async with desk.session.post(f"{desk.url}/open", data=b"\x1b[2Jgone") as answer:
        one = str((await answer.json())["id"])
    await desk.settled(one)
    _, out, _ = await run("processes", "show", one)
    assert "�[2Jgone" in out
    assert "\x1b" not in out


async def test_cancel_and_retry_say_what_became_of_it(desk: Desk, run: Run) -> None:
    held = [await desk.submit({"hold": True}) for _ in range(2)]
    waiting = await desk.submit()
    assert await run("processes", "cancel", waiting, "--why", "withdrawn") == (0, f"{waiting} is cancelled\n", "")
    code, out, err = await run("processes", "cancel", held[0], "--why", "withdrawn")
    assert (code, out) == (1, "")
    assert err.startswith("not-cancellable: it is with the legacy system")
    desk.release.set()
    await asyncio.gather(*map(desk.settled, held))
    code, out, err = await run("processes", "cancel", held[0], "--why", "withdrawn")
    assert (code, out) == (1, f"{held[0]} is completed\n"), "what was asked for was not done"
    code, out, err = await run("processes", "retry", held[0], "--why", "they insist")
    assert (code, out) == (1, "")
    assert "--force" in err
    code, out, err = await run("processes", "retry", held[0], "--why", "they insist", "--force")
    assert code == 0
    assert out.endswith(f"its parent is {held[0]}\n")
    _, out, _ = await run("audit", "--json")
    assert [(one["what"], one["outcome"], one["who"]) for one in json.loads(out)["commands"]] == [
        ("retryProcess", "done", "command-line (alice)"),
        ("retryProcess", "not-retryable", "command-line (alice)"),
        ("cancelProcess", "done", "command-line (alice)"),
        ("cancelProcess", "not-cancellable", "command-line (alice)"),
        ("cancelProcess", "done", "command-line (alice)"),
    ]
    _, out, _ = await run("audit", "--what", "retryProcess", "--process", held[0])
    assert out.splitlines()[0].split() == ["WHEN", "WHO", "WHAT", "OUTCOME", "ON", "GIVEN", "WHY"]
    assert ["force=true" in line for line in out.splitlines()] == [False, True, False]


@pytest.mark.parametrize("words", [("list", "--reference", "\udcff"), ("show", "\udcff")])
async def test_octets_that_are_not_text_are_wrong_usage(desk: Desk, run: Run, words: tuple[str, ...]) -> None:
    code, out, err = await run("processes", *words)
    assert (code, out, err) == (2, "", "an argument is not UTF-8: '\\udcff'\n")


@pytest.mark.parametrize("letter", ["\x1b", "\x9b", "\u2028", "\u202e", "\u2066", "\ud800"])
def test_nothing_that_is_shown_moves_the_cursor_turns_the_text_or_breaks_off(letter: str) -> None:
    assert safe(f"a{letter}b") == "a\N{REPLACEMENT CHARACTER}b"


def test_a_terminal_that_cannot_show_a_letter_is_told_its_number() -> None:
    line = [sys.executable, "-m", "strangler", "processes", "list", "--help"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(line, capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"STATE,\\u2026" in done.stdout


@pytest.mark.parametrize("verb", ["processes", "deliveries"])
@pytest.mark.parametrize("flag", ["--since", "--until"])
async def test_what_is_no_instant_is_wrong_usage(desk: Desk, run: Run, verb: str, flag: str) -> None:
    said = f"{flag}: expected 2026-11-21, 2026-11-21T10:00:00Z, or 2h, 3d ago, found 'yesterday'\n"
    assert await run(verb, "list", flag, "yesterday") == (2, "", said)
    for good in ("2h", "2026-11-21", "2026-11-21T10:00:00Z"):
        assert (await run(verb, "list", flag, good))[0] == 0


async def test_a_change_needs_a_reason(desk: Desk, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        await run("drain")
    assert ended.value.code == 2
    assert "--why" in capsys.readouterr().err
    code, _, err = await run("drain", "--why", " ")
    assert (code, err.partition(":")[0]) == (2, "bad-request")


async def test_routes_are_listed_and_the_instance_is_drained(desk: Desk, run: Run) -> None:
    _, out, _ = await run("routes", "list")
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [
        ["submit-claim", "async"],
        ["open-claim", "async"],
        ["plain", "passthrough"],
    ]
    _, out, _ = await run("routes", "list", "--json")
    assert [route["name"] for route in json.loads(out)["routes"]] == ["submit-claim", "open-claim", "plain"]
    assert await run("drain", "--why", "maintenance") == (0, "it is draining\n", "")
    assert (await desk.get("/readyz")).status == 503
    assert await run("drain", "--undo", "--why", "over") == (0, "it is serving\n", "")


async def test_an_export_goes_to_the_standard_output(desk: Desk, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    one = await desk.submit(path="/open")
    await desk.settled(one)
    await asyncio.to_thread(main, ["processes", "export", "--store", desk.store_url])
    lines = capfdbinary.readouterr().out.splitlines()
    assert (len(lines), lines[1].split(b",")[0]) == (2, one.encode())


async def test_an_export_that_breaks_off_is_no_success(desk: Desk, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.submit(path="/open")
    found = desk.store.search
    pages = iter((True, False))

    async def search(wish: Search) -> Found:
        if not next(pages):
            raise StoreUnavailable("the disk is gone")
        page = await found(wish)
        return page._replace(processes=list(page.processes) * 400, before_id=page.processes[-1].id)

    monkeypatch.setattr(desk.store, "search", search)
    code, _, err = await run("processes", "export", "--format", "jsonl")
    assert code == 1
    assert "broke off" in err


async def test_who_reads_no_further_is_no_error(desk: Desk) -> None:
    for _ in range(3):
        await desk.submit(path="/open")
    command = f"{shlex.quote(sys.executable)} -m strangler processes list --json --store {desk.store_url} | true"
    shell = await asyncio.create_subprocess_shell(command, stderr=asyncio.subprocess.PIPE)
    assert (await shell.communicate())[1] == b""


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (
            "processes list --route submit-clam",
            "--route: the policy in force has no submit-clam; did you mean submit-claim?",
        ),
        (
            "exceptions list --route nowhere",
            "--route: the policy in force has no nowhere; known here: open-claim, plain, submit-claim",
        ),
        ("deliveries list --receiver nobody", "--receiver: the policy in force has no nobody; nothing is known here"),
        ("processes list --caller nobody", "--caller: a caller has a name where its route has `access.name`"),
    ],
)
async def test_where_nothing_is_found_it_is_told_what_can_never_be(run: Run, command: str, hint: str) -> None:
    code, _, err = await run(*command.split())
    assert (code, err) == (0, f"{hint}\n")


async def test_a_list_that_is_empty_for_no_such_reason_says_nothing(run: Run) -> None:
    for command in ("processes list --route submit-claim --reference P-1003", "exceptions list --route submit-claim"):
        code, _, err = await run(*command.split())
        assert (code, err) == (0, "")


async def test_exceptions_of_a_mistyped_route_are_not_resolved_with_success(run: Run) -> None:
    code, out, err = await run("exceptions", "resolve", "--route", "submit-clam", "--accept", "--why", "seen")
    assert (code, out) == (2, "")
    assert "did you mean submit-claim?" in err


# ── Where the server is, and with which token ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("token", ["sop_secret\nX-Other: 1", "sop_secret\N{SNOWMAN}", "sop secret"])
async def test_what_is_no_token_is_refused_and_not_shown(run: Run, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("STRANGLER_OPS_TOKEN", token)
    code, out, err = await run("processes", "list")
    assert (code, out) == (2, "")
    assert "STRANGLER_OPS_TOKEN: expected visible ASCII characters" in err
    assert "secret" not in err


async def test_a_token_comes_from_the_environment_first(desk: Desk, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRANGLER_OPS_TOKEN", "sop_nobody")
    code, _, err = await run("processes", "list")
    assert (code, err.partition(":")[0]) == (1, "unauthenticated")
    assert "STRANGLER_OPS_TOKEN was sent, and it is none of this server's tokens" in err
    monkeypatch.setenv("STRANGLER_OPS_TOKEN", f"{desk.token}\r\n")  # as a file ends
    assert (await run("drain", "--why", "x", "--ops", desk.ops, "--store", "memory:", store=False))[0] == 0


async def test_the_token_of_another_store_is_refused_and_it_is_said_which_one_was_sent(
    desk: Desk, run: Run, tmp_path: Path
) -> None:
    other = tmp_path / "other.db"
    pass_path(other).write_text(json.dumps({"token": "sop_other", "ops": "127.0.0.1:9"}))
    code, _, err = await run("processes", "list", "--ops", desk.ops, "--store", f"sqlite:///{other}", store=False)
    assert (code, err.partition(":")[0]) == (1, "unauthenticated")
    assert f"the token beside sqlite:///{other}, of another server or of an earlier start" in err


async def test_who_names_a_store_that_nobody_serves_is_not_answered_by_another_server(
    desk: Desk, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strangler.cli.asking._USUAL", desk.ops.removeprefix("http://"))
    code, out, err = await run("processes", "list", "--store", f"sqlite:///{tmp_path}/mistyped.db", store=False)
    assert (code, out) == (2, "")
    assert f"nobody serves sqlite:///{tmp_path}/mistyped.db" in err
    assert "there is no mistyped.db.ops-token beside it" in err
    assert (await run("processes", "list", store=False))[0] == 0, "who names none asks at the usual place"


@pytest.mark.parametrize(
    "command",
    [
        "processes list --state bogus",
        "processes list --cursor nope",
        "exceptions list --kind bogus",
        "audit --process x",
        "processes list --since 2026-13-41",
    ],
)
async def test_what_a_server_can_make_nothing_of_is_wrong_usage(run: Run, command: str) -> None:
    code, out, err = await run(*command.split())
    assert (code, out) == (2, "")
    assert "expected" in err


async def test_without_a_token_it_is_said_where_one_is(desk: Desk, run: Run) -> None:
    code, _, err = await run("drain", "--why", "x", "--ops", desk.ops, "--store", "sqlite:///other.db", store=False)
    assert code == 1
    assert "STRANGLER_OPS_TOKEN" in err
    assert "--store" in err


async def test_beside_a_store_in_memory_there_is_none_and_that_is_said(desk: Desk, run: Run) -> None:
    code, _, err = await run("drain", "--why", "x", "--ops", desk.ops, "--store", "memory:", store=False)
    assert code == 1
    assert "beside a store in memory there is none" in err


async def test_the_token_of_this_machine_goes_to_no_other(run: Run) -> None:
    """A name that is not the loopback, and not where the server said it listens."""
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        heard.append(connection.recv(65536))
        connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    port = listener.getsockname()[1]
    code, _, _ = await run("processes", "list", "--ops", f"http://127.1:{port}")
    thread.join()
    listener.close()
    assert code == 1
    assert b"authorization" not in heard[0].lower()


async def test_nobody_there_is_said_with_what_to_do(run: Run, tmp_path: Path) -> None:
    code, out, err = await run("routes", "list", "--ops", f"unix:{tmp_path}/nobody")
    assert (code, out) == (1, "")
    assert err.startswith(f"nobody answers at unix:{tmp_path}/nobody: ")
    assert "--ops" in err


@pytest.mark.parametrize(
    ("answer", "body", "how"),
    [
        ("200 OK", "hello", ", and no JSON"),
        ("302 Found", "hello", ", and no JSON"),
        ("404 Not Found", "hello", ", and no JSON"),
        ("200 OK", "[]", ", and JSON of something else"),
        ("200 OK", '{"status": "UP"}', " without 'routes'"),
        ("200 OK", '{"routes": [{}]}', " without 'name'"),
    ],
)
async def test_who_is_no_strangler_is_known(run: Run, answer: str, body: str, how: str) -> None:
    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {answer}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(f"{head}{body}".encode())
        writer.close()

    async with await asyncio.start_server(stranger, "127.0.0.1", 0) as server:
        place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        code, _, err = await run("routes", "list", "--ops", place)
    assert (code, err) == (
        1,
        f"{place} answered {answer[:3]}{how}; is it the operations listener of strangler?\n",
    )


async def test_a_unix_socket_is_spoken_to(desk: Desk, run: Run, tmp_path: Path) -> None:
    await desk.server._operations.start_on(bind_path(str(tmp_path / "ops.sock")))
    assert (await run("drain", "--why", "x", "--ops", f"unix:{tmp_path}/ops.sock"))[:2] == (0, "it is draining\n")


def test_an_id_is_taken_from_a_url() -> None:
    one = "01a1f000-0000-7000-8000-000000000001"
    assert process_id(f"https://x/claims/{one}/history") == process_id(one) == one
    assert process_id("nonsense") == "nonsense"


# ── Tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tokens_are_added_to_a_file_that_only_its_owner_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tokens.yaml"
    made = []
    for name, role in (("alice", "operator"), ("grafana", "viewer")):
        assert main(["tokens", "add", name, "--role", role, "--file", str(path)]) == 0
        made.append(capsys.readouterr().out.strip())
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    tokens = Tokens(path)
    assert [tokens.holder(token) for token in made] == [("alice", "operator"), ("grafana", "viewer")]
    assert not [token for token in made if token in path.read_text()]
    assert main(["tokens", "list", "--file", str(path)]) == 0
    assert capsys.readouterr().out.split() == ["alice", "operator", "grafana", "viewer"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "alice", "--role", "viewer"], "there is a token of this name"),
        (["add", "a/b", "--role", "viewer"], "NAME: expected"),
        (["add", "command-line", "--role", "viewer"], "NAME: expected"),
    ],
)
def test_a_token_that_cannot_be_made_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    path = tmp_path / "tokens.yaml"
    main(["tokens", "add", "alice", "--role", "operator", "--file", str(path)])
    before = path.read_text()
    capsys.readouterr()
    assert main(["tokens", *arguments, "--file", str(path)]) == 2
    assert said in capsys.readouterr().err
    assert path.read_text() == before


def test_a_file_whose_last_line_has_no_end_is_added_to_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    main(["tokens", "add", "alice", "--role", "operator", "--file", str(path)])
    path.write_text(path.read_text().rstrip("\n"))
    assert main(["tokens", "add", "bob", "--role", "viewer", "--file", str(path)]) == 0
    assert len(path.read_text().splitlines()) == 2


def test_no_file_is_wrong_usage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRANGLER_OPS_TOKENS", raising=False)
    assert main(["tokens", "list"]) == 2
    assert "--file" in capsys.readouterr().err
