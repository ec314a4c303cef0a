"""WsgiDAV on cheroot: driven by litmus, the test suite of WebDAV servers, and by a client of a few lines."""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.ways import ThirdParty, Ways, needed, standing

needed("wsgidav", "cheroot")


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    directory = tmp_path_factory.mktemp("webdav")
    shared = directory / "shared"
    shared.mkdir()
    command = ["-m", "wsgidav.server.server_cli", "--host", "127.0.0.1", "--port", "{port}", "--root", str(shared)]
    with standing(directory, ThirdParty("wsgidav", directory, [*command, "--auth", "anonymous"])) as ways:
        yield ways


def verdicts(url: str, at: Path) -> list[str]:
    """What litmus says of each of its tests, in its own words."""
    at.mkdir()  # it leaves a log where it runs
    run = subprocess.run(
        ["litmus", "--keep-going", url], cwd=at, capture_output=True, text=True, check=False, timeout=100
    )
    lines = re.split(r"[\r\n]+", run.stdout)
    return [re.sub(r"\s+", " ", line).replace(url, "URL") for line in lines if re.match(r"\s*\d+\. .*\w", line)]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("litmus") is None, reason="not installed: the program litmus")
def test_litmus_comes_to_the_same_verdicts(ways: Ways, tmp_path: Path) -> None:
    direct = verdicts(ways.direct, tmp_path / "direct")
    for name in ("put_get", "expect100", "copy_overwrite", "propfind_d0", "lock_excl"):
        assert any(re.search(rf" {name}\.* pass", line) for line in direct), (name, direct)
    for number, url in enumerate(ways.through):
        assert verdicts(url, tmp_path / str(number)) == direct


LOCK = b"""<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>
<D:locktype><D:write/></D:locktype><D:owner>me</D:owner></D:lockinfo>"""
PROPERTY = b"""<?xml version="1.0"?><D:propertyupdate xmlns:D="DAV:"><D:set><D:prop>
<c:claim xmlns:c="urn:claims">C-17</c:claim></D:prop></D:set></D:propertyupdate>"""
# These differ from one moment to the next.
PASSING = re.compile(
    rb"opaquelocktoken:[0-9a-fx-]+|<\w+:(getlastmodified|creationdate|getetag|timeout|quota-[a-z-]+)>[^<]*",
    re.IGNORECASE,
)


def story(url: str) -> list[tuple[int, bytes]]:
    """The statuses and bodies of one visit, over one connection; nothing is left behind."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    seen = []

    def say(method: str, path: str, body: object = None, **headers: str) -> http.client.HTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named, encode_chunked=named.get("Transfer-Encoding") == "chunked")  # type: ignore[arg-type]
        reply = connection.getresponse()
        told = PASSING.sub(b"", reply.read()).replace(url.encode(), b"URL")
        seen.append((reply.status, re.sub(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?", b"", told)))
        return reply

    file = "/files/gr%C3%BC%C3%9Fe%20%26%20co.txt"
    say("MKCOL", "/files")
    say("PUT", file, b"hello " * 50_000)
    say("PUT", "/files/chunked", iter([b"one ", b"two ", b"x" * 200_000]), Transfer_Encoding="chunked")
    say("GET", file, Range="bytes=6-10")
    say("PROPPATCH", file, PROPERTY)
    say("PROPFIND", "/files", Depth="1")
    token = say("LOCK", file, LOCK, Timeout="Second-60").headers["Lock-Token"]
    say("PUT", file, b"no")
    say("PUT", file, b"yes", If=f"({token})")
    say("UNLOCK", file, Lock_Token=token)
    say("COPY", file, Destination=f"{url}/files/copy", Overwrite="F")
    say("COPY", file, Destination=f"{url}/files/copy", Overwrite="F")
    say("MOVE", "/files/copy", Destination=f"{url}/files/moved")
    say("GET", "/files/moved")
    say("OPTIONS", "/files")
    say("DELETE", "/files")
    say("GET", "/files/moved")
    connection.close()
    return seen


@pytest.mark.slow
def test_files_locks_and_properties_are_the_same(ways: Ways) -> None:
    direct = story(ways.direct)
    assert [status for status, _ in direct] == [
        201, 201, 201, 206, 207, 207, 200, 423, 204, 204, 201, 412, 201, 200, 200, 204, 404
    ]  # fmt: skip
    assert b"C-17" in direct[4][1] or b"claim" in direct[4][1]
    assert direct[13][1] == b"yes"
    for url in ways.through:
        assert story(url) == direct
