"""Links that belong to one client connection, because an upstream authenticates connections (NTLM, Negotiate)."""

from __future__ import annotations

from strangler.policy.upstreams import Upstream
from strangler.ports import Link


class Pinned(dict[str, Link]):
    """At most one link for each upstream, by name."""

    __slots__ = ()

    def take(self, upstream: Upstream) -> Link | None:
        """The link to an upstream, if it still stands."""
        link = self.pop(upstream.name, None)
        return link if link is not None and link.reusable else None

    def keep(self, upstream: Upstream, link: Link) -> None:
        """Keep it for the client's next request."""
        link.resume_reading()
        self[upstream.name] = link

    def close(self) -> None:
        """The client is gone: nobody else may use them."""
        for link in self.values():
            link.abort()
        self.clear()
