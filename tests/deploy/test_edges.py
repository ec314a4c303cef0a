"""nginx and Envoy in front of the real server, each with the example from `deploy/`."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from httpx_sse import aconnect_sse
from websockets.asyncio.client import connect

from strangler.config.scalars import seconds
from strangler.config.settings import Settings
from strangler.policy.upstreams import Upstream
from tests.deploy.material import DEPLOY, judged, tool
from tests.front.certificates import Authority
from tests.harness.child import Child
from tests.harness.legacy import Legacy
from tests.harness.server import Server
from tests.harness.waiting import eventually, free_port

POLICY = """
upstreams:
  legacy: {{url: "{url}"}}
  archive: {{url: "http://127.0.0.1:{archive}"}}
routes:
  - {{name: archive, match: {{path: /documents}}, upstream: archive}}
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
    """The edge before the server before the legacy system; they serve all tests of one edge."""

    def __init__(self, kind: str, directory: Path, authority: Authority) -> None:
        self.legacy = Legacy(directory)
        options = ["--trust-forwarded", "127.0.0.1", "--drain-timeout", "0s"]
        self.archive = free_port()  # listened on by the test that needs it
        self.server = Server(directory, POLICY.format(url=self.legacy.url, archive=self.archive), options=options)
        self.edge = Edge(kind, directory, authority, self.server.port)
        self.children: list[Child] = [self.legacy, self.server, self.edge]

    async def start(self) -> None:
        await self.legacy.start()
        await self.server.start()
        self.edge.spawn_program()
        await eventually(self.edge.listens, what=f"{self.edge.name} listens")

    async def end(self) -> None:
        for child in self.children:
            await child.kill()

    def client(self) -> httpx.AsyncClient:
        """A client of the edge."""
        base = f"https://127.0.0.1:{self.edge.port}"
        return httpx.AsyncClient(base_url=base, headers=ALICE, verify=self.edge.trust, timeout=20)

    async def submit(self, marker: str, script: str) -> httpx.Response:
        """A claim; whoever sends it lies about where it came in."""
        headers = {**LIES, "X-Legacy": script, "X-Correlation-ID": marker}
        async with self.client() as http:
            return await http.post("/claims", json={"amount": 1}, headers=headers)

    async def held(self, marker: str) -> str:
        """Path of a process whose call the legacy system answers when it is released."""
        path: str = (await self.submit(marker, "do=hold")).json()["id"]
        return f"/claim-submissions/{path}"

    async def release(self, marker: str) -> None:
        """Let the legacy system answer a call that it has."""
        await eventually(lambda: self.legacy.received(marker) == 1, what="the call is with the legacy system")
        await self.legacy.release()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=["nginx", "envoy"], scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    tool(name)
    return name


@pytest.fixture(scope="module")
def place(kind: str, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(kind, tmp_path_factory.mktemp(kind), authority)
    try:
        asyncio.run(place.start())
        yield place
    finally:
        asyncio.run(place.end())


def test_the_example_is_one_that_the_proxy_takes(kind: str, authority: Authority, tmp_path: Path) -> None:
    Edge(kind, tmp_path, authority, 8080).check()


@pytest.mark.parametrize(
    ("example", "waits", "keeps"),
    [
        ("nginx/strangler.conf", r"proxy_(?:read|send)_timeout (\w+);", r"keepalive_timeout (\w+);"),
        ("envoy/envoy.yaml", r"stream_idle_timeout: (\w+)", r"closing\.\n +idle_timeout: (\w+)"),
    ],
    ids=["nginx", "envoy"],
)
def test_what_takes_too_long_is_ended_by_strangler_and_connections_by_the_edge(
    example: str, waits: str, keeps: str
) -> None:
    text = (DEPLOY / example).read_text()
    upstream = Upstream(name="legacy", scheme="http")
    longest = max(upstream.first_byte_timeout, upstream.idle_timeout, upstream.tunnel_timeout, upstream.timeout + 5)
    assert min(seconds(found) for found in re.findall(waits, text)) > longest
    assert max(seconds(found) for found in re.findall(keeps, text)) < Settings().keepalive


async def test_links_bear_the_name_that_the_client_knows_whatever_it_says(place: Place) -> None:
    assert await place.edge.protocol() == "h2"
    reply = await place.submit("links", "delay=0")
    assert reply.status_code == 202
    assert reply.headers["Location"].startswith("https://api.example.org/claim-submissions/")


async def test_what_passes_through_is_as_the_client_wrote_it(place: Place) -> None:
    target = b"/a//b/%2e%2e/c%2Fd;e?x=&y=%7E"
    async with place.client() as http:
        reply = await http.get(httpx.URL(scheme="https", host="127.0.0.1", port=place.edge.port, raw_path=target))
    assert reply.json()["path"] == target.decode()
    assert reply.headers["X-Legacy-Answer"] == "yes"


async def test_events_come_when_they_happen(place: Place) -> None:
    path = await place.held("events")
    async with place.client() as http, aconnect_sse(http, "GET", f"{path}/events") as source:
        events = source.aiter_sse()
        first = await anext(events)
        assert json.loads(first.data)["state"] in ("received", "processing")
        await place.release("events")
        assert [event.event async for event in events][-1] == "final"


async def test_a_websocket_is_one_behind_the_edge_too(place: Place) -> None:
    path = await place.held("socket")
    address = f"wss://127.0.0.1:{place.edge.port}{path}/socket"
    async with connect(address, ssl=place.edge.trust, additional_headers={"X-Api-Key": "alice"}) as socket:
        assert json.loads(await socket.recv())["type"] == "state"
        await place.release("socket")
        messages = [json.loads(message) async for message in socket]
    assert messages[-1]["type"] == "final"


async def test_a_body_is_passed_on_while_it_comes(place: Place) -> None:
    half_came = asyncio.Event()

    async def archive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(50_000)
        half_came.set()
        await reader.readexactly(50_000)
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    async def body() -> AsyncIterator[bytes]:
        yield b"x" * 50_000
        await asyncio.wait_for(half_came.wait(), 15)
        yield b"y" * 50_000

    async with await asyncio.start_server(archive, "127.0.0.1", place.archive), place.client() as http:
        reply = await http.post("/documents", content=body(), headers={"Content-Length": "100000"})
    assert reply.status_code == 204


async def test_whether_a_head_is_too_large_is_for_strangler_to_say(place: Place) -> None:
    many = [(f"x-many-{number}", "m" * 128) for number in range(200)]
    long = [("x-long", "l" * 30_000)]

    async def archive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        back = [line for line in lines if line.startswith((b"x-many-", b"x-long"))]
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n%b\r\n\r\n" % b"\r\n".join(back))
        writer.close()

    async with await asyncio.start_server(archive, "127.0.0.1", place.archive), place.client() as http:
        reply = await http.get("/documents", headers=[*many, *long])
        assert reply.status_code == 204, reply.text
        assert dict([*many, *long]).items() <= reply.headers.items()
        refused = await http.get("/documents", headers=[*many, *long, ("x-longer", "2" * 20_000)])
        assert refused.json()["code"] == "head-too-large"
