"""Links that belong to one client connection, because an upstream authenticates connections (NTLM, Negotiate)."""

from __future__ import annotations

from strangler.policy.upstreams import Upstream
from strangler.ports import Link


class Pinned:
    """At most one link for each upstream, by name."""

    __slots__ = ("_links",)

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}

    def __bool__(self) -> bool:
        return bool(self._links)

    def take(self, upstream: Upstream) -> Link | None:
        """The link to an upstream, if it still stands."""
        link = self._links.pop(upstream.name, None)
        return link if link is not None and link.reusable else None

    def keep(self, upstream: Upstream, link: Link) -> None:
        """Keep it for the client's next request."""
        link.resume_reading()
        self._links[upstream.name] = link

    def close(self) -> None:
        """The client is gone: nobody else may use them."""
        for link in self._links.values():
            link.abort()
        self._links.clear()
