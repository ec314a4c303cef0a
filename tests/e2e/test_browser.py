"""A page of another origin in a real browser: fetch, EventSource and WebSocket, over a crash of the server."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.harness.stage import Stage
from tests.harness.waiting import eventually

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

POLICY = """
upstreams:
  legacy: {{url: "{legacy}", timeout: 30s}}
routes:
  - name: submit-claim
    match: {{path: /claims, methods: [POST]}}
    upstream: legacy
    mode: async
    call: {{concurrency: 1}}
    cors: {{origins: ["{page}"], headers: [X-Legacy]}}
"""

PAGE = """<!doctype html><script>
const base = "BASE", who = {"X-Api-Key": "alice", "Content-Type": "application/json"};
const report = (what) => fetch("/report", {method: "POST", body: JSON.stringify(what)});
const submit = async (marker, script) => {
  const headers = {...who, "X-Correlation-ID": marker, "X-Legacy": script};
  const reply = await fetch(base + "/claims", {method: "POST", headers, body: "{}"});
  const document = await reply.json();
  const ticket = await fetch(document.links.self + "/ticket", {method: "POST", headers: who});
  return {...await ticket.json(), location: reply.headers.get("Location")};
};
(async () => {
  const first = await submit("first", "do=hold"), second = await submit("second", "");
  const source = new EventSource(second.events), seen = [];
  const take = (event) => {
    seen.push([event.type, event.lastEventId, JSON.parse(event.data).version]);
    if (seen.length == 1) report({step: "following", location: second.location});
  };
  source.addEventListener("state", take);
  source.addEventListener("final", take);
  source.onerror = () => {
    if (source.readyState != EventSource.CLOSED) return;
    report({step: "events", seen});
    const socket = new WebSocket(second.socket), heard = [];
    socket.onmessage = (event) => heard.push(JSON.parse(event.data).type);
    socket.onclose = (event) => report({step: "socket", heard, code: event.code});
  };
})().catch((error) => report({step: "failed", error: String(error)}));
</script>"""


class Site:
    """The page, and what it reports."""

    def __init__(self) -> None:
        self.page = ""
        self.url = ""
        self.reports: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def serve(self, request: web.Request) -> web.Response:
        return web.Response(text=self.page, content_type="text/html")

    async def take(self, request: web.Request) -> web.Response:
        self.reports.put_nowait(json.loads(await request.text()))
        return web.Response()

    async def report(self, step: str) -> dict[str, Any]:
        """The next report, which is of this step."""
        found = await asyncio.wait_for(self.reports.get(), 60)
        assert found["step"] == step, found
        return found


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    found = Site()
    application = web.Application()
    application.add_routes([web.get("/", found.serve), web.post("/report", found.take)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield found
    finally:
        await runner.cleanup()


@contextmanager
def browser(profile: Path, url: str) -> Iterator[None]:
    assert CHROMIUM is not None
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}", url]
    with (profile.parent / "browser.log").open("wb") as log:
        process = subprocess.Popen([CHROMIUM, "--remote-debugging-port=0", *arguments], stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: that a browser can follow is NOT shown")
async def test_a_page_follows_by_its_browsers_own_means_over_a_crash(stage: Stage, tmp_path: Path) -> None:
    legacy = await stage.legacy()
    async with site() as page:
        server = stage.server(POLICY.format(legacy=legacy.url, page=page.url))
        page.page = PAGE.replace("BASE", server.url)
        await server.start()
        with browser(tmp_path / "profile", page.url):
            following = await page.report("following")
            assert following["location"].startswith(f"{server.url}/processes/")
            await eventually(lambda: legacy.received("first"))
            await server.kill()
            await server.start()
            events = await page.report("events")
            assert events["seen"] == [["state", "1", 1], ["state", "2", 2], ["final", "3", 3]]
            socket = await page.report("socket")
            assert (socket["heard"], socket["code"]) == (["final"], 1000)
