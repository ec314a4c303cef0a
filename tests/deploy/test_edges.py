"""nginx and Envoy in front of the real server, each with the example from `deploy/`."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from httpx_sse import aconnect_sse
from websockets.asyncio.client import connect

from tests.deploy.material import DEPLOY, judged, tool
from tests.front.certificates import Authority
from tests.harness.child import Child
from tests.harness.legacy import Legacy
from tests.harness.stage import Stage
from tests.harness.waiting import eventually, free_port

POLICY = """
upstreams:
  legacy: {{url: "{url}"}}
routes:
  - name: submit-claim
    match: {{path: /claims, methods: [POST]}}
    upstream: legacy
    mode: async
    process: {{resource: /claim-submissions}}
default: {{upstream: legacy}}
"""
ALICE = {"Host": "api.example.org", "X-Api-Key": "alice"}
LIES = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http", "Forwarded": "host=evil.example"}


class Edge(Child):
    """A proxy in front, on a free port of the loopback, with TLS."""

    def __init__(self, kind: str, directory: Path, authority: Authority, target: int) -> None:
        super().__init__(kind, directory / f"{kind}.log")
        self.port = free_port()
        self._directory = directory
        self._target = target
        self._certificate, self._key = authority.issue("edge")
        self.trust = ssl.create_default_context(cafile=authority.ca)

    def spawn_program(self) -> None:
        """Start it on its example; only addresses and paths are other ones."""
        program = tool(self.name)
        command = [program, *(self._nginx() if self.name == "nginx" else self._envoy())]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def check(self) -> None:
        """Let it judge its own example."""
        if self.name == "nginx":
            judged(tool("nginx"), *self._nginx(), "-t")
        else:
            judged(tool("envoy"), *self._envoy(), "--mode", "validate")

    def _nginx(self) -> list[str]:
        example = (DEPLOY / "nginx" / "strangler.conf").read_text()
        plain = free_port()
        for theirs, ours in (
            ("127.0.0.1:8080", f"127.0.0.1:{self._target}"),
            ("listen 80;", f"listen 127.0.0.1:{plain};"),
            ("listen [::]:80;", ""),
            ("listen 443 ", f"listen 127.0.0.1:{self.port} "),
            ("listen [::]:443 ssl http2;", ""),
            ("/etc/nginx/tls/api.example.org.pem", self._certificate),
            ("/etc/nginx/tls/api.example.org.key", self._key),
        ):
            assert theirs in example
            example = example.replace(theirs, ours)
        site = self._directory / "strangler.conf"
        site.write_text(example)
        kept = "\n".join(
            f"{name}_temp_path {self._directory / name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        whole = self._directory / "nginx.conf"
        whole.write_text(
            f"daemon off; master_process off; pid {self._directory / 'nginx.pid'}; error_log stderr;\n"
            f"events {{}}\nhttp {{ access_log off; {kept}\ninclude {site}; }}\n"
        )
        return ["-p", str(self._directory), "-e", "stderr", "-c", str(whole)]

    def _envoy(self) -> list[str]:
        example = (DEPLOY / "envoy" / "envoy.yaml").read_text()
        for theirs, ours in (
            ("port_value: 8080", f"port_value: {self._target}"),
            ("address: 0.0.0.0, port_value: 443", f"address: 127.0.0.1, port_value: {self.port}"),
            ("port_value: 9900", "port_value: 0"),
            ("/etc/envoy/tls/api.example.org.pem", self._certificate),
            ("/etc/envoy/tls/api.example.org.key", self._key),
        ):
            assert theirs in example
            example = example.replace(theirs, ours)
        whole = self._directory / "envoy.yaml"
        whole.write_text(example)
        return ["-c", str(whole), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]

    async def protocol(self) -> str | None:
        """What TLS agreed on."""
        context = ssl.create_default_context(cafile=None)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2", "http/1.1"])
        _, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
        agreed: str | None = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        writer.close()
        return agreed

    async def listens(self) -> bool:
        """Whether it does; a proxy that ended instead has said why."""
        assert self.running, self.tail()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True


class Place:
    """A client before the edge before the server before the legacy system."""

    def __init__(self, edge: Edge, legacy: Legacy, http: httpx.AsyncClient) -> None:
        self.edge = edge
        self.legacy = legacy
        self.http = http

    async def submit(self, script: str) -> httpx.Response:
        """A claim; whoever sends it lies about where it came in."""
        return await self.http.post("/claims", json={"amount": 1}, headers={**LIES, "X-Legacy": script})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=["nginx", "envoy"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    tool(name)
    return name


@pytest.fixture
async def place(kind: str, authority: Authority, stage: Stage) -> AsyncIterator[Place]:
    legacy = await stage.legacy()
    options = ["--trust-forwarded", "127.0.0.1", "--drain-timeout", "0s"]
    server = stage.server(POLICY.format(url=legacy.url), options=options)
    await server.start()
    edge = Edge(kind, stage.directory, authority, server.port)
    stage.keep(edge)
    edge.spawn_program()
    await eventually(edge.listens, what=f"{kind} listens")
    base = f"https://127.0.0.1:{edge.port}"
    async with httpx.AsyncClient(base_url=base, headers=ALICE, verify=edge.trust, timeout=20) as http:
        yield Place(edge, legacy, http)


def test_the_example_is_one_that_the_proxy_takes(kind: str, authority: Authority, tmp_path: Path) -> None:
    Edge(kind, tmp_path, authority, 8080).check()


async def test_links_bear_the_name_that_the_client_knows_whatever_it_says(place: Place) -> None:
    assert await place.edge.protocol() == "h2"
    reply = await place.submit("delay=0")
    assert reply.status_code == 202
    assert reply.headers["Location"].startswith("https://api.example.org/claim-submissions/")


async def test_what_passes_through_is_as_the_client_wrote_it(place: Place) -> None:
    target = "/a//b/%2e%2e/c%2Fd;e?x=&y=%7E"
    reply = await place.http.get(
        httpx.URL(scheme="https", host="127.0.0.1", port=place.edge.port, raw_path=target.encode())
    )
    assert reply.json()["path"] == target
    assert reply.headers["X-Legacy-Answer"] == "yes"


async def test_events_come_when_they_happen(place: Place) -> None:
    url = (await place.submit("do=hold")).json()["id"]
    async with aconnect_sse(place.http, "GET", f"/claim-submissions/{url}/events") as source:
        events = source.aiter_sse()
        first = await anext(events)
        assert json.loads(first.data)["state"] in ("received", "processing")
        await eventually(lambda: place.legacy.received() == 1, what="the call is with the legacy system")
        await place.legacy.release()
        async for event in events:
            last = event
        assert last.event == "final"


async def test_a_websocket_is_one_behind_the_edge_too(place: Place) -> None:
    url = (await place.submit("do=hold")).json()["id"]
    address = f"wss://127.0.0.1:{place.edge.port}/claim-submissions/{url}/socket"
    async with connect(address, ssl=place.edge.trust, additional_headers={"X-Api-Key": "alice"}) as socket:
        assert json.loads(await socket.recv())["type"] == "state"
        await eventually(lambda: place.legacy.received() == 1, what="the call is with the legacy system")
        await place.legacy.release()
        messages = [json.loads(message) async for message in socket]
    assert messages[-1]["type"] == "final"


async def test_a_body_is_passed_on_while_it_comes(place: Place) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", place.edge.port, ssl=place.edge.trust)
    writer.write(b"POST /documents HTTP/1.1\r\nHost: api.example.org\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50000)
    await writer.drain()
    writer.close()
    await eventually(lambda: [line["event"] for line in place.legacy.lines()] == ["partial"], what="half of it came")
