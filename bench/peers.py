"""Proxies that strangler is held against, each on the server's core; `bench/install_peers.sh` installs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.machine import LOAD_CORE, ROOT, SERVER_CORE, Program, python
from tests.harness.waiting import free_port

NGINX = """
daemon off; master_process off; worker_processes 1; pid {path}/{name}.pid; error_log {path}/{name}.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 9000; }}
http {{
  access_log off;
  client_body_temp_path {path}/a; proxy_temp_path {path}/b; fastcgi_temp_path {path}/c;
  uwsgi_temp_path {path}/d; scgi_temp_path {path}/e;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  {inside}
}}
"""
# Bodies are streamed, as strangler streams them: nginx would otherwise write large ones to its disk first.
NGINX_PROXY = """
  upstream legacy {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    proxy_request_buffering off; proxy_max_temp_file_size 0;
    location / {{ proxy_pass http://legacy; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
"""
NGINX_BACKEND = """
  server {{
    listen 127.0.0.1:{port};
    location / {{ default_type application/json; return 200 '{{"claim":"C-17","result":"APPROVED","amount":1250.0}}'; }}
  }}
"""
HAPROXY = """
global
  maxconn 8192
  nbthread 1
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  http-reuse always
listen all
  bind 127.0.0.1:{port}
  server legacy 127.0.0.1:{upstream}
"""
CADDY = """
{{
  admin off
  auto_https off
}}
http://:{port} {{
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:{upstream}
}}
"""


def folder() -> Path:
    """Where `bench/install_peers.sh` puts what does not come from the system."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("STRANGLER_BENCH_PEERS") or cache / "strangler-bench-peers")


@dataclass(frozen=True)
class Peer:
    """A proxy, how it is started, and what strangler promises against it."""

    name: str
    start: Callable[[Path, int], Program | None]  # a folder for its files, the upstream's port; None: not installed
    at_least: float | None = None  # of its rate


def nginx(path: Path, upstream: int) -> Program | None:
    """nginx as a proxy."""
    return _nginx("nginx", path, NGINX_PROXY, upstream, SERVER_CORE)


def backend(path: Path) -> Program | None:
    """nginx as the cheapest of backends, on the core of the load."""
    return _nginx("backend", path, NGINX_BACKEND, 0, LOAD_CORE)


def _nginx(name: str, path: Path, inside: str, upstream: int, core: int) -> Program | None:
    if shutil.which("nginx") is None:
        return None
    port = free_port()
    written = path / f"{name}.conf"
    written.write_text(NGINX.format(path=path, name=name, inside=inside.format(port=port, upstream=upstream)))
    return Program(name, ["nginx", "-p", str(path), "-c", str(written)], port, core)


def _haproxy(path: Path, upstream: int) -> Program | None:
    if shutil.which("haproxy") is None:
        return None
    port = free_port()
    written = path / "haproxy.cfg"
    written.write_text(HAPROXY.format(port=port, upstream=upstream))
    return Program("haproxy", ["haproxy", "-db", "-f", str(written)], port, SERVER_CORE)


def _caddy(path: Path, upstream: int) -> Program | None:
    if shutil.which("caddy") is None:
        return None
    port = free_port()
    written = path / "Caddyfile"
    written.write_text(CADDY.format(port=port, upstream=upstream))
    command = [
        "env",
        f"XDG_DATA_HOME={path}",
        f"XDG_CONFIG_HOME={path}",
        "caddy",
        "run",
        "--adapter",
        "caddyfile",
        "--config",
        str(written),
    ]
    return Program("caddy", command, port, SERVER_CORE)


def _node(package: str, script: str) -> Callable[[Path, int], Program | None]:
    def start(path: Path, upstream: int) -> Program | None:
        modules = folder() / "node_modules"
        if shutil.which("node") is None or not (modules / package).exists():
            return None
        port = free_port()
        command = ["env", f"NODE_PATH={modules}", "node", str(ROOT / "bench" / "node" / script)]
        return Program(script, [*command, str(port), str(upstream)], port, SERVER_CORE)

    return start


def _mitmproxy(path: Path, upstream: int) -> Program | None:
    program = shutil.which("mitmdump", path=f"{folder() / 'mitmproxy' / 'bin'}:{os.environ.get('PATH', '')}")
    if program is None:
        return None
    port = free_port()
    command = [program, "--quiet", "--mode", f"reverse:http://127.0.0.1:{upstream}", "--listen-host", "127.0.0.1"]
    return Program("mitmproxy", [*command, "--listen-port", str(port), "--set", f"confdir={path}"], port, SERVER_CORE)


def _aiohttp(path: Path, upstream: int) -> Program:
    port = free_port()
    return Program("aiohttp", python("bench.baselines", "proxy", str(port), str(upstream)), port, SERVER_CORE)


PEERS = (
    Peer("nginx", nginx, 0.4),
    Peer("HAProxy", _haproxy),
    Peer("Caddy", _caddy, 2.5),
    Peer("http-proxy", _node("http-proxy", "http_proxy.js")),
    Peer("@fastify/reply-from", _node("@fastify/reply-from", "reply_from.js"), 2.5),
    Peer("mitmproxy", _mitmproxy),
    Peer("40 lines of aiohttp", _aiohttp, 5.0),
)
