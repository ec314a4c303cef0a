"""What the public listener is set to."""

from __future__ import annotations

from dataclasses import dataclass, field

from strangler.policy.trust import TrustedNetworks


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits and timeouts (seconds) towards clients; the defaults are those of ``strangler serve``."""

    head_timeout: float = 10.0  # from a head's first byte, or the opening of the connection, to its last
    body_idle_timeout: float = 60.0  # between two pieces of a body, read or written
    keepalive: float = 75.0  # idle life of a client connection
    max_head: int = 64 * 1024
    max_clients: int = 10_000
    trusted: TrustedNetworks = field(default_factory=TrustedNetworks)
    tick: float = 0.25  # how often timeouts are looked after; each may take up to two ticks more
