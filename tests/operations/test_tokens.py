"""Named tokens, their file, and who may do what with and without one."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request

from strangler.domain.errors import OperatorError
from strangler.operations.api.admission import is_local
from strangler.operations.api.endpoint import Role
from strangler.operations.api.tokens import LOCAL, Holder, Tokens, digest_of, entry_line, make_token, parse
from strangler.runtime.listeners import bind_path
from tests.operations.desk_stage import Desk, a_desk

VIEWER, OPERATOR, OTHER = make_token(), make_token(), make_token()
FILE = entry_line("viola", Role.VIEWER, VIEWER) + entry_line("otto", Role.OPERATOR, OPERATOR)


def named(value: object) -> str | None:
    """A token in the name of a test, which is the same each time; None: as pytest says."""
    return {VIEWER: "viewer", OPERATOR: "operator", OTHER: "other"}.get(str(value))


def write(path: Path, text: str) -> None:
    """In place of what is there, as an editor does it."""
    draft = path.with_suffix(".new")
    draft.write_text(text)
    os.replace(draft, path)


def test_a_token_is_known_by_its_hash_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    path.write_text(FILE)
    assert VIEWER not in FILE
    tokens = Tokens(path)
    assert tokens.holder(VIEWER) == Holder("viola", Role.VIEWER)
    assert tokens.holder(OPERATOR) == Holder("otto", Role.OPERATOR)
    for nobody in (OTHER, "", "ä\udcff", digest_of(VIEWER).hex()):
        assert tokens.holder(nobody) is None


def test_a_file_that_changes_is_read_again_and_one_that_becomes_wrong_changes_nothing(tmp_path: Path) -> None:
    path, told = tmp_path / "tokens.yaml", []
    path.write_text(FILE)
    tokens = Tokens(path, told.append)
    write(path, entry_line("otto", Role.VIEWER, OPERATOR))
    assert tokens.holder(VIEWER) is None
    assert tokens.holder(OPERATOR) == Holder("otto", Role.VIEWER)
    write(path, "- {name: otto}")
    assert tokens.holder(OPERATOR) == Holder("otto", Role.VIEWER)
    assert tokens.holder(OPERATOR) is not None
    assert len(told) == 1, "a wrong file is told once"
    assert "token 1: expected name, role and sha256" in told[0]
    write(path, FILE)
    assert tokens.holder(VIEWER) is not None


def test_a_file_that_could_not_be_read_when_it_had_changed_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, told = tmp_path / "tokens.yaml", []
    path.write_text(FILE)
    tokens = Tokens(path, told.append)
    write(path, entry_line("otto", Role.OPERATOR, OPERATOR))

    def no_more_files(*_: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", no_more_files)
        assert tokens.holder(VIEWER) == tokens.holder(VIEWER) == Holder("viola", Role.VIEWER)
    assert told == [f"{path}: Too many open files"]
    assert tokens.holder(VIEWER) is None
    assert tokens.holder(OPERATOR) is not None


def test_a_file_that_is_gone_names_nobody(tmp_path: Path) -> None:
    path, told = tmp_path / "tokens.yaml", []
    path.write_text(FILE)
    tokens = Tokens(path, told.append)
    path.unlink()
    assert (tokens.holder(VIEWER), tokens.holder(VIEWER), len(told)) == (None, None, 1)
    path.write_text(FILE)
    assert tokens.holder(VIEWER) is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b", "expected a list"),
        ("- {", "it is not YAML"),
        ("- 2026-13-45", "it is not YAML"),
        ("[" * 5000, "it is not YAML"),
        ("- {name: a, role: [], sha256: '" + "0" * 64 + "'}", "role: expected viewer or operator"),
        ("- {name: a, role: admin, sha256: '" + "0" * 64 + "'}", "role: expected viewer or operator"),
        ("- {name: a, role: viewer, sha256: abc}", "sha256: expected 64 hexadecimal digits"),
        ("- {name: 'a b\\n', role: viewer, sha256: '" + "0" * 64 + "'}", "name: expected"),
        (f"- {{name: {LOCAL}, role: viewer, sha256: '" + "0" * 64 + "'}", f"not {LOCAL}"),
        (entry_line("a", Role.VIEWER, VIEWER) + entry_line("a", Role.VIEWER, OTHER), "two tokens have one name"),
        (entry_line("a", Role.VIEWER, VIEWER) + entry_line("b", Role.VIEWER, VIEWER), "two tokens have one hash"),
    ],
)
def test_a_wrong_file_is_told_where_it_is_wrong_and_without_its_hashes(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "tokens.yaml"
    path.write_text(text)
    with pytest.raises(OperatorError) as raised:
        Tokens(path)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)
    assert digest_of(VIEWER).hex() not in str(raised.value)


def test_an_empty_file_names_nobody_and_none_is_an_error_at_the_start(tmp_path: Path) -> None:
    assert parse("", "x") == ()
    with pytest.raises(OperatorError):
        Tokens(tmp_path / "tokens.yaml")
    (tmp_path / "odd.yaml").write_bytes(b"\xff")
    with pytest.raises(OperatorError, match="UTF-8"):
        Tokens(tmp_path / "odd.yaml")


def test_the_token_of_this_machine_is_new_each_time() -> None:
    tokens = Tokens(None)
    first, second = tokens.make(), tokens.make()
    assert tokens.holder(first) is None
    assert tokens.holder(second) == Holder(LOCAL, Role.OPERATOR)


# ── Over sockets ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    (tmp_path / "tokens.yaml").write_text(FILE)
    async with a_desk(tmp_path, ops_tokens=str(tmp_path / "tokens.yaml")) as desk:
        yield desk


DRAIN = {"why": "a test"}


@pytest.mark.parametrize(
    ("method", "path", "token", "expected"),
    [
        ("GET", "/processes", None, 200),
        ("GET", "/processes", VIEWER, 200),
        ("GET", "/processes", OTHER, 401),
        ("GET", "/healthz", OTHER, 200),
        ("GET", "/metrics", None, 200),
        ("POST", "/drain", None, 401),
        ("POST", "/drain", VIEWER, 403),
        ("POST", "/drain", OTHER, 401),
        ("POST", "/drain", OPERATOR, 200),
        ("POST", "/-/reload", None, 200),
        ("POST", "/-/reload", VIEWER, 403),
        ("POST", "/-/reload", OPERATOR, 200),
    ],
    ids=named,
)
async def test_from_this_machine_reading_is_open_and_a_change_needs_a_token(
    desk: Desk, method: str, path: str, token: str | None, expected: int
) -> None:
    body = DRAIN if path == "/drain" else None
    told = await desk.ask(method, path, body=body, token=token)
    assert told.status == expected
    if expected == 401:
        assert told.headers["WWW-Authenticate"].startswith("Bearer")


FROM_ELSEWHERE: list[tuple[str, str, str | None, int]] = [
    ("GET", "/healthz", None, 200),
    ("GET", "/readyz", None, 200),
    ("GET", "/metrics", None, 200),
    ("GET", "/openapi.json", None, 200),
    ("GET", "/processes", None, 401),
    ("GET", "/routes", None, 401),
    ("GET", "/audit", VIEWER, 200),
    ("POST", "/-/reload", None, 401),
    ("POST", "/-/reload", VIEWER, 403),
    ("POST", "/-/reload", OPERATOR, 200),
    ("POST", "/processes/01a1f000-0000-7000-8000-000000000001/progress", None, 401),
    ("POST", "/drain", OPERATOR, 200),
]


@pytest.mark.parametrize(("method", "path", "token", "expected"), FROM_ELSEWHERE, ids=named)
@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
async def test_who_comes_through_a_proxy_on_this_machine_is_not_on_this_machine(
    desk: Desk, method: str, path: str, token: str | None, expected: int, header: str
) -> None:
    body = DRAIN if path == "/drain" else {"status": "ASSESSING"} if path.endswith("progress") else None
    told = await desk.ask(method, path, body=body, token=token, headers={header: "192.0.2.7"})
    assert told.status == expected


async def test_names_of_tokens_stand_in_the_audit_log_and_cannot_be_claimed(desk: Desk) -> None:
    await desk.ask("POST", "/drain", body=DRAIN, token=OPERATOR, headers={"Strangler-Operator": "alice"})
    await desk.ask("POST", "/drain", body=DRAIN, token=VIEWER)
    await desk.ask("POST", "/drain", body=DRAIN, token=desk.token, headers={"Strangler-Operator": "x" * 65})
    await desk.ask("POST", "/-/reload")
    who = [command["who"] for command in (await desk.get("/audit")).document["commands"]]
    assert who == ["this machine", "command-line", "otto"]
    desk.logs.close()
    barred = [line for line in map(json.loads, desk.lines.splitlines()) if line["event"] == "command_barred"]
    assert [(line["command"], line["code"]) for line in barred] == [("drainInstance", "forbidden")]


async def test_a_token_comes_once_and_as_bearer(desk: Desk) -> None:
    for headers in ({"Authorization": f"Basic {OPERATOR}"}, {"Authorization": "Bearer "}, {"Authorization": OPERATOR}):
        told = await desk.ask("GET", "/processes", headers=headers)
        assert told.status == 401
    both = [("Authorization", f"Bearer {OPERATOR}"), ("Authorization", f"Bearer {VIEWER}")]
    async with desk.session.get(f"http://{desk.ops}/processes", headers=both) as answer:
        assert answer.status == 401


async def test_the_token_of_this_machine_lies_beside_the_store_for_its_owner_alone_while_the_server_runs(
    tmp_path: Path,
) -> None:
    async with a_desk(tmp_path) as desk:
        path = tmp_path / "store.db.ops-token"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (await desk.post("/drain")).status == 200
        first = desk.token
    assert not path.exists()
    async with a_desk(tmp_path) as desk:
        assert desk.token != first


async def test_at_a_unix_socket_is_this_machine(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    await desk.begin("http://127.0.0.1:1", "upstreams: {{u: {{url: '{legacy}'}}}}\ndefault: {{upstream: u}}\n")
    path = str(tmp_path / "ops.sock")
    await desk.server._operations.start_on(bind_path(path))
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session:
        async with session.get("http://ops/processes") as answer:
            assert answer.status == 200
        async with session.post("http://ops/drain", json=DRAIN) as answer:
            assert answer.status == 401
    await desk.end()


class Transport:
    """A connection from an address, and its socket."""

    family = socket.AF_INET

    def __init__(self, peer: Any) -> None:
        self._peer = peer

    def get_extra_info(self, name: str) -> Any:
        return self._peer if name == "peername" else self if name == "socket" else None


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (("127.0.0.1", 1), True),
        (("127.9.9.9", 1), True),
        (("::1", 1, 0, 0), True),
        (("::ffff:127.0.0.1", 1, 0, 0), True),
        (("192.0.2.1", 1), False),
        (("::ffff:192.0.2.1", 1, 0, 0), False),
        (("fe80::1%eth0", 1, 0, 2), False),
        (None, False),
        ((), False),
    ],
)
def test_this_machine_is_the_loopback(peer: Any, expected: bool) -> None:
    request = make_mocked_request("GET", "/", transport=Transport(peer))  # type: ignore[arg-type]
    assert is_local(request) is expected
