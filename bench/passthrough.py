"""What passes through, against no proxy at all and against other proxies."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.accepts import checked
from bench.machine import SERVER_CORE, Program, free_port, python
from bench.report import Row, Settings, compared, mebibytes, median
from bench.subject import Strangler, directory, reading, upstream

NGINX = """
daemon off; master_process off; worker_processes 1; pid {path}/nginx.pid; error_log {path}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {path}/a; proxy_temp_path {path}/b; fastcgi_temp_path {path}/c;
  uwsgi_temp_path {path}/d; scgi_temp_path {path}/e;
  keepalive_requests 1000000000;
  upstream legacy {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://legacy; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
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


def passthrough(settings: Settings) -> list[Row]:
    """Exchanges per second through each proxy on the same core, 64 connections, a reply of some 100 bytes."""
    rates: dict[str, list[float]] = {}
    costs: dict[str, list[float]] = {}
    peaks: dict[str, int] = {}
    missing = []
    with ExitStack() as stack:
        path = stack.enter_context(directory())
        legacy = stack.enter_context(upstream("0"))
        programs: dict[str, Program] = {"strangler": stack.enter_context(Strangler(path, legacy.port))}
        programs["no proxy"] = legacy
        port = free_port()
        command = python("bench.baselines", "proxy", str(port), str(legacy.port))
        programs["aiohttp proxy"] = stack.enter_context(Program("aiohttp-proxy", command, port, SERVER_CORE))
        for name, started in (("nginx", _nginx(path, legacy.port)), ("haproxy", _haproxy(path, legacy.port))):
            if started is None:
                missing.append(name)
            else:
                programs[name] = stack.enter_context(started)
        for _ in range(settings.rounds):
            for name, program in programs.items():
                seen = checked(program.load([reading("/anything?a=1")], seconds=settings.seconds), "200")
                rates.setdefault(name, []).append(seen.rate)
                costs.setdefault(name, []).append(seen.cpu)
        peaks = {name: program.peak() for name, program in programs.items()}
    ours = rates.pop("strangler")
    rows = [_row(name, ours, theirs, peaks, costs) for name, theirs in rates.items()]
    rows += [Row(f"against {name}", "SKIPPED", f"{name} is not installed") for name in missing]
    return rows


def _row(
    name: str, ours: Sequence[float], theirs: Sequence[float], peaks: dict[str, int], costs: dict[str, list[float]]
) -> Row:
    mine, others = median(costs["strangler"]), median(costs[name])
    note = f"CPU of one: {mine:.0f} against {others:.0f} us, a ratio of {others / mine:.2f}"
    return compared(f"against {name}", ours, theirs, None, mebibytes(peaks["strangler"], peaks[name]), note)


def _nginx(path: Path, upstream_port: int) -> Program | None:
    if shutil.which("nginx") is None:
        return None
    port = free_port()
    configuration = path / "nginx.conf"
    configuration.write_text(NGINX.format(path=path, port=port, upstream=upstream_port))
    return Program("nginx", ["nginx", "-p", str(path), "-c", str(configuration)], port, SERVER_CORE)


def _haproxy(path: Path, upstream_port: int) -> Program | None:
    if shutil.which("haproxy") is None:
        return None
    port = free_port()
    configuration = path / "haproxy.cfg"
    configuration.write_text(HAPROXY.format(port=port, upstream=upstream_port))
    return Program("haproxy", ["haproxy", "-db", "-f", str(configuration)], port, SERVER_CORE)
