"""Links that belong to one client connection, because an upstream authenticates connections (NTLM, Negotiate)."""

from __future__ import annotations

from strangler.policy.upstreams import Upstream
from strangler.ports import Link


class Pinned(dict[str, tuple[Upstream, Link]]):
    """At most one link for each upstream, by name, and what the upstream was when it was kept."""

    __slots__ = ()

    def take(self, upstream: Upstream) -> Link | None:
        """The link to an upstream, if it still stands, and leads where the policy says now."""
        before, link = self.pop(upstream.name, (upstream, None))
        if link is not None and (before != upstream or not link.reusable):
            link.abort()
            return None
        return link

    def keep(self, upstream: Upstream, link: Link) -> None:
        """Keep it for the client's next request."""
        link.resume_reading()
        self[upstream.name] = upstream, link

    def close(self) -> None:
        """The client is gone: nobody else may use them."""
        for _, link in self.values():
            link.abort()
        self.clear()
