"""Legacy systems, and how they are reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How we speak TLS to an upstream; paths of PEM files."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    verify: bool = True
    server_name: str | None = None
    seen: tuple[tuple[int, ...], ...] = ()
    """What these files were like when the policy was loaded: others under the same names are another way to speak, so
    that what is connected with the old ones is not used any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Which forwarding headers are set."""

    x_forwarded: bool = True
    forwarded: bool = False
    via: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A legacy system and how to reach it."""

    name: str
    scheme: Literal["http", "https", "unix"]
    host: str = ""  # name or address without brackets; empty for unix
    port: int = 0
    socket_path: str = ""  # unix only
    base_path: str = ""  # prepended to every path; no trailing slash
    connect_timeout: float = 2.0
    timeout: float = 60.0
    first_byte_timeout: float = 300.0
    idle_timeout: float = 300.0
    tunnel_timeout: float = 3600.0
    keepalive: float = 2.0
    max_connections: int = 1024
    queue_timeout: float = 2.0
    tls: Tls = field(default_factory=Tls)
    host_header: Literal["preserve", "upstream"] = "preserve"
    forward: Forward = field(default_factory=Forward)
    upgrade: tuple[str, ...] = ("websocket",)

    @property
    def authority(self) -> str:
        """Host and port as they stand in a Host header; the port only where it is not the scheme's."""
        if self.scheme == "unix":
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.scheme == "https" else 80
        return host if self.port == usual else f"{host}:{self.port}"
