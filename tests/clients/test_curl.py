"""curl against httpbin under gunicorn: what it prints is the same with strangler between them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.ways import ThirdParty, Ways, needed, standing

needed("httpbin", "gunicorn", programs=["curl"])

UPLOAD = 3_000_000
# Which coding and which connection is a matter of each hop, and the second of an answer one of luck.
OF_THE_HOP = re.compile("(date|connection|transfer-encoding):", re.IGNORECASE)
OF_THE_WAY = re.compile("via$|x-forwarded-|host$|connection$", re.IGNORECASE)
ECHOING = ("/get", "/anything", "/post", "/put", "/stream")  # these tell how the request came

Got = tuple[int, list[str], list[str], bytes]  # exit code, status lines, other lines of the heads, body


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    directory = tmp_path_factory.mktemp("curl")
    command = ["-m", "gunicorn", "-k", "gthread", "--threads", "8", "-b", "127.0.0.1:{port}", "httpbin:app"]
    with standing(directory, ThirdParty("httpbin", directory, command)) as ways:
        yield ways


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    path = tmp_path / "upload"
    path.write_bytes(bytes(range(256)) * (UPLOAD // 256))
    return path


def curl(base: str, target: str, *options: str, body: bytes | None = None) -> Got:
    """Exit code, status lines, the other lines of the heads and the body of what curl got."""
    command = ["curl", "--silent", "--include", "--path-as-is", "--globoff", "--max-time", "30", *options]
    run = subprocess.run([*command, base + target], input=body, capture_output=True, check=False, timeout=60)
    statuses, fields, rest = [], [], run.stdout
    while rest.startswith(b"HTTP/"):
        head, _, rest = rest.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        statuses.append(status.partition(" ")[2])
        fields += [line for line in lines if not OF_THE_HOP.match(line)]
    if target.startswith(ECHOING):
        fields = [line for line in fields if not line.lower().startswith("content-length:")]
    return run.returncode, statuses, fields, rest


def same(ways: Ways, target: str, *options: str, body: bytes | None = None) -> Got:
    """What curl got, which is the same all ways."""
    direct = curl(ways.direct, target, *options, body=body)
    for url in ways.through:
        assert shown(curl(url, target, *options, body=body)) == shown(direct)
    return direct


def shown(got: Got) -> tuple[int, list[str], list[str], Any]:
    """The same without what httpbin tells of the way that a request took, and the length that this makes."""
    code, statuses, fields, body = got
    return code, statuses, fields, [_told(line) for line in _documents(body)] or body


def _documents(body: bytes) -> list[Any]:
    """The JSON documents of a body that speaks of its request: one, or one on each line; else nothing."""
    for texts in ([body], body.splitlines()):
        try:
            documents = [json.loads(text) for text in texts]
        except ValueError:
            continue
        return documents if all(isinstance(one, dict) and "headers" in one for one in documents) else []
    return []


def _told(document: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in document.items() if name not in ("origin", "url")}
    headers = {name: value for name, value in document["headers"].items() if not OF_THE_WAY.match(name)}
    # What separates the parts of a form is another word each time.
    kept["headers"] = {name: value.partition("; boundary=")[0] for name, value in headers.items()}
    return kept


@pytest.mark.parametrize(
    "target", ["/get?a=1&a=2&b", "/anything/a%2Fb//c/../d?", "/encoding/utf8", "/image/png", "/stream/5", "/status/304"]
)
@pytest.mark.parametrize("options", [[], ["--http1.0"], ["--head"], ["--compressed"]], ids=lambda o: "".join(o) or "-")
def test_what_curl_asks_for_is_what_it_gets(ways: Ways, target: str, options: list[str]) -> None:
    code, statuses, _, _ = same(ways, target, *options)
    assert code == 0
    assert statuses[-1][:3] == ("304" if target == "/status/304" else "200")


def test_a_client_that_expects_100_continue_is_told_to_go_on(ways: Ways, upload: Path) -> None:
    expecting = ["--header", "Expect: 100-continue", "--expect100-timeout", "25", "--data-binary", f"@{upload}"]
    code, statuses, _, body = same(ways, "/post", "--header", "Content-Type: application/x-any", *expecting)
    assert code == 0
    assert [status[:3] for status in statuses] == ["100", "200"]
    assert len(body) > UPLOAD


def test_an_upload_of_unknown_length_arrives_whole(ways: Ways, upload: Path) -> None:
    # `Expect:` takes away what curl would add of its own accord.
    chunked = ["--upload-file", "-", "--header", "Expect:", "--header", "Content-Type: application/x-any"]
    code, statuses, _, body = same(ways, "/put", *chunked, body=upload.read_bytes())
    assert (code, statuses) == (0, ["200 OK"])
    assert len(body) > UPLOAD


@pytest.mark.parametrize("wanted", ["0-9", "100-", "-16", "2000-3000", "5000-"])
def test_a_part_of_a_document_is_that_part(ways: Ways, wanted: str) -> None:
    code, statuses, fields, body = same(ways, "/range/2048", "--range", wanted)
    assert code == 0
    assert statuses[0][:3] in ("206", "416")
    if wanted == "0-9":
        assert body == b"abcdefghij"
        assert any(line.lower().startswith("content-range: bytes 0-9/2048") for line in fields)


def test_redirects_and_cookies_are_left_to_the_client(ways: Ways) -> None:
    code, statuses, fields, _ = same(ways, "/cookies/set?a=b&c=d", "--location", "--cookie", "x=y", "--cookie-jar", "-")
    assert code == 0
    assert [status[:3] for status in statuses] == ["302", "200"]
    assert sum(line.startswith("Set-Cookie:") for line in fields) == 2


def test_credentials_and_forms_reach_the_server(ways: Ways, upload: Path) -> None:
    assert same(ways, "/basic-auth/me/secret", "--user", "me:secret")[1] == ["200 OK"]
    assert same(ways, "/basic-auth/me/secret", "--user", "me:wrong")[1] == ["401 UNAUTHORIZED"]
    assert same(ways, "/digest-auth/auth/me/secret", "--digest", "--user", "me:secret", "--output", "/dev/null")[0] == 0
    form = ["--form", "a=1", "--form", f"file=@{upload};filename=ü.bin", "--header", "Expect:"]
    assert same(ways, "/post", *form, "--form-string", "b=2", "--max-filesize", "10000000")[0] == 0


def test_the_server_sees_which_way_a_request_took(ways: Ways) -> None:
    assert b'"Via"' not in curl(ways.direct, "/get?show_env=1")[3]
    assert all(b'"Via"' in curl(url, "/get?show_env=1")[3] for url in ways.through)


def test_two_requests_of_one_curl_share_its_connection(ways: Ways) -> None:
    for url in ways.through:
        options = ["--silent", "--output", "/dev/null", "--write-out", "%{num_connects} ", f"{url}/get"]
        run = subprocess.run(
            ["curl", *options, "--next", *options], capture_output=True, text=True, check=True, timeout=60
        )
        assert run.stdout.split() == ["1", "0"]
