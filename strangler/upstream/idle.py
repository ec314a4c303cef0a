"""Links that wait for work, the youngest on top: the older one is, the likelier the upstream has just closed it."""

from __future__ import annotations

import asyncio

from strangler.upstream.link import UpstreamLink


class Idle:
    """A stack of idle links that closes those which have been idle for ``keepalive`` seconds."""

    def __init__(self, keepalive: float) -> None:
        self._keepalive = keepalive
        self._loop = asyncio.get_running_loop()
        self._links: list[UpstreamLink] = []  # the oldest first
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._links)

    def put(self, link: UpstreamLink) -> None:
        """Keep a link for later. From now on the upstream may close it at any time."""
        link.reused = True
        link.idle_since = self._loop.time()
        self._links.append(link)
        if self._timer is None:
            self._timer = self._loop.call_later(self._keepalive, self._expire)

    def take(self, younger_than: float | None = None) -> UpstreamLink | None:
        """The link that was used last, if it has been idle for less than ``younger_than`` seconds (``keepalive``)."""
        links, limit = self._links, self._keepalive
        if younger_than is not None:
            limit = min(younger_than, limit)
        oldest_allowed = self._loop.time() - limit
        while links and links[-1].idle_since > oldest_allowed:
            link = links.pop()
            if not link.closing:
                return link
        return None

    def forget(self, link: UpstreamLink) -> None:
        """It closed by itself."""
        if link in self._links:
            self._links.remove(link)

    def oldest(self) -> UpstreamLink:
        """Take the one that has been idle for longest."""
        return self._links.pop(0)

    def close(self) -> None:
        """Close them all."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        links, self._links = self._links, []
        for link in links:
            link.abort()

    def _expire(self) -> None:
        self._timer = None
        oldest_allowed = self._loop.time() - self._keepalive
        expired = [link for link in self._links if link.idle_since <= oldest_allowed]
        del self._links[: len(expired)]
        for link in expired:
            link.abort()
        if self._links:
            self._timer = self._loop.call_at(self._links[0].idle_since + self._keepalive, self._expire)
