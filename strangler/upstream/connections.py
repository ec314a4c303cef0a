"""The connections for passthrough of all upstreams."""

from __future__ import annotations

from strangler.policy.upstreams import Upstream
from strangler.ports import Borrower, Wait
from strangler.upstream.pool import Pool


class Connections:
    """See `strangler.ports.Links`. An upstream that a reload changed gets a new pool; the old one ends by itself.

    Args:
        max_head: bytes of a reply's head at most.
    """

    def __init__(self, *, max_head: int) -> None:
        self._max_head = max_head
        self._pools: dict[str, Pool] = {}
        self._living: list[Pool] = []  # with those that a changed policy has replaced, while they are in use

    def borrow(self, upstream: Upstream, borrower: Borrower, *, fresh: bool = False) -> Wait | None:
        """See `strangler.ports.Links`."""
        pool = self._pools.get(upstream.name)
        if pool is None or pool.upstream is not upstream:
            pool = self._renew(pool, upstream)
        return pool.borrow(borrower, fresh=fresh)

    def close(self) -> None:
        """Close all connections that are idle, and the others when they come back; open no more."""
        for pool in self._living:
            pool.abandon()

    def _renew(self, pool: Pool | None, upstream: Upstream) -> Pool:
        if pool is not None and pool.upstream == upstream:
            pool.upstream = upstream  # the same, loaded again: the next look-up needs no comparison
            return pool
        if pool is not None:
            pool.close()
        fresh = Pool(upstream, self._max_head)
        self._pools[upstream.name] = fresh
        self._living = [living for living in self._living if not living.ended] + [fresh]
        return fresh
