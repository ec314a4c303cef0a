"""Standing orders and pauses, as rows."""

from __future__ import annotations

from strangler.domain.pause import Pause
from strangler.policy.standing import Order
from strangler.store.ids import id_time
from strangler.store.sqlite.connection import Connection
from strangler.store.sqlite.reads import guarded
from strangler.store.standing import packed, unpacked

_ORDERS = "SELECT route, kind, mode, began_at, until_at, who, why FROM route_order ORDER BY route, kind"
_PAUSES = "SELECT route, began_at, ended_at FROM pause ORDER BY route, began_at"
_PUT = (
    "INSERT OR REPLACE INTO route_order (route, kind, mode, began_at, until_at, who, why) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_BEGIN = (
    # One that begins where another ends goes on with it.
    "INSERT INTO pause (route, began_at) SELECT ?1, max(?2, COALESCE((SELECT max(ended_at) FROM pause "
    "WHERE route = ?1), 0)) WHERE NOT EXISTS (SELECT 1 FROM pause WHERE route = ?1 AND ended_at IS NULL) "
    "ON CONFLICT (route, began_at) DO UPDATE SET ended_at = NULL"
)

STOOD_STILL = (
    "(SELECT COALESCE(sum(COALESCE(ended_at, ?1) - max(began_at, process.created_at)), 0) FROM pause "
    "WHERE pause.route = process.route AND COALESCE(ended_at, ?1) > process.created_at)"
)
"""Milliseconds up to the instant ?1 that calls of the route of ``process`` were paused since its acceptance."""

GOES_ON = "process.route NOT IN (SELECT route FROM pause WHERE ended_at IS NULL)"
"""Calls of the route of ``process`` are not paused."""


def orders(connection: Connection) -> list[Order]:
    """All standing orders."""
    with guarded(connection):
        return [unpacked(row) for row in connection.rows(_ORDERS)]


def pauses(connection: Connection) -> list[Pause]:
    """All pauses."""
    with guarded(connection):
        return [Pause._make(row) for row in connection.rows(_PAUSES)]


def put(order: Order, connection: Connection) -> None:
    """Write an order."""
    connection.run(_PUT, packed(order))


def remove(route: str, kind: str, connection: Connection) -> None:
    """Delete an order."""
    connection.run("DELETE FROM route_order WHERE route = ? AND kind = ?", (route, kind))


def begin(route: str, at: int, connection: Connection) -> None:
    """Write a pause that goes on."""
    connection.run(_BEGIN, (route, at))


def end(route: str, at: int, connection: Connection) -> None:
    """Write the end of a pause."""
    connection.run("UPDATE pause SET ended_at = max(began_at, ?) WHERE route = ? AND ended_at IS NULL", (at, route))


def forget(connection: Connection) -> int:
    """Delete the pauses that were over before the oldest process was accepted, of which its id tells."""
    row = connection.row("SELECT min(id) FROM process")
    if row is None or row[0] is None:
        return connection.run("DELETE FROM pause WHERE ended_at IS NOT NULL")
    return connection.run("DELETE FROM pause WHERE ended_at < ?", (id_time(row[0]),))
