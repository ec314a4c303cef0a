"""The one seam for the wording of logs and metrics: the rooms say what happened, this says how it is told.

Every method is called on the event loop and returns at once. Label values come from the policy, never from a request;
no secret and no body is ever logged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal, NamedTuple, Protocol

from strangler.domain.delivery import Delivery, DeliveryAttempt
from strangler.domain.exceptions import ExceptionKind
from strangler.domain.exchange import Attempt, Request
from strangler.domain.process import Process
from strangler.domain.transitions import Change
from strangler.ports import DeliveryTotal, InFlight


class QueueReading(NamedTuple):
    """What waits on a route right now."""

    waiting: int
    waiting_bytes: int
    running: int
    oldest_age: float  # seconds that the longest waiting process has been due


class StandingReading(NamedTuple):
    """What stands in the way of a route right now, beside its policy."""

    held: bool  # by an operator
    circuit: Literal["closed", "open", "half-open", "trying"] | None  # None: it has none
    mode: str | None  # that an operator ordered for a while


Level = Literal["debug", "info", "warning", "error"]
"""How much a line matters. A warning wants to be seen, an error wants somebody to act."""

AccessLog = Literal["all", "recorded", "none"]
"""Which requests get a line of their own: all, those that are not passed through, or none."""


class Instrument(Protocol):
    """What the rooms tell. ``route`` is empty where no route is concerned."""

    access_log: AccessLog
    """Whoever could call `answered` looks here first, and spares the call."""

    def answered(
        self,
        request: Request,
        route: str,
        status: int,
        seconds: float,
        *,
        decision: str = "",
        process: Process | None = None,
        code: str = "",
        sent: int | None = None,
        detail: str = "",
    ) -> None:
        """A request was answered to the end: the one line of the access log.

        ``decision`` is why it went the way it did, in words of ours; ``code`` the name of the problem that it was
        answered with; ``sent`` the bytes of the answer's body;
        ``detail`` what went wrong on the way to the upstream. Status 499 where the client left first.
        """

    def accepted(self, process: Process, seconds: float) -> None:
        """A request was recorded, ``seconds`` after its head had arrived."""

    def replayed(self, process: Process) -> None:
        """A request joined the process of its idempotency key."""

    def refused(self, route: str, code: str) -> None:
        """A request was refused; ``code`` is the name of the problem."""

    def limited(self, route: str, kind: str) -> None:
        """A client was told that it had sent too much: of requests to accept ("accepts"), or of "polls"."""

    def would_refuse(self, route: str, code: str, detail: str) -> None:
        """``accept.enforce: report``: it would have been refused. ``detail`` is not told: it may quote the request."""

    def changed(self, change: Change) -> None:
        """A change was committed."""

    def attempt_ended(self, process: Process, attempt: Attempt) -> None:
        """An attempt ended and its outcome was committed."""

    def delivery_tried(
        self, delivery: Delivery, attempt: DeliveryAttempt, seconds: float | None, trace: str | None = None
    ) -> None:
        """An attempt to tell a receiver was committed. ``seconds``: from the change to its delivery; None: it is not
        delivered."""

    def late_reply(self, process: Process, settled: bool) -> None:
        """A reply came under a stale fence; it settled the process, or was kept as evidence."""

    def polled(self, route: str, resource: str) -> None:
        """A process resource was read: "process", "status", "result", "history", "list", "events", "socket"."""

    def passed_through(self, route: str, status: int, seconds: float) -> None:
        """A passthrough exchange ended; status 499 where the client left first."""

    def group_commit(self, size: int, seconds: float) -> None:
        """The store committed ``size`` changes with one fsync."""

    def store_refuses(self, reason: str | None) -> None:
        """The store stopped (with a reason), or began again (None), to take new work."""

    def policy_loaded(
        self, revision: str, routes: int, names: Collection[str] = (), recording: Collection[str] = ()
    ) -> None:
        """A policy table is in force; ``names`` are its routes, ``recording`` those of them that make processes."""

    def policy_refused(self, errors: str) -> None:
        """A policy did not load; the one in force stays."""

    def note(self, event: str, level: Level = "info", **fields: object) -> None:
        """Anything else worth a line: starting, draining, recovered, swept. Fields are scalars."""

    def failed(self, where: str, error: BaseException) -> None:
        """A defect of ours: an exception that nobody expected, with its traceback."""

    def watch_queues(self, read: Callable[[], Mapping[str, QueueReading]]) -> None:
        """Where to read the queues at scrape time."""

    def watch_deliveries(self, read: Callable[[], Iterable[DeliveryTotal]]) -> None:
        """Where to read at scrape time how many deliveries are pending, held or dead."""

    def watch_exceptions(self, read: Callable[[], Mapping[ExceptionKind, int]]) -> None:
        """Where to read at scrape time how many exceptions are open, by kind."""

    def reconciled(
        self, outcome: str, at: int, processes: int, findings: int, standings: Mapping[str, int], why: str | None
    ) -> None:
        """A run of reconciliation ended at an instant: "finished", "stopped" (too much is wrong) or "failed".

        ``standings`` are its findings by what became of them: "opened", "open" already, "accepted".
        """

    def watch_standing(self, read: Callable[[], Mapping[str, StandingReading]]) -> None:
        """Where to read at scrape time what stands in the way of each route that records."""

    def watch_memory(self, read: Callable[[], int]) -> None:
        """Where to read at scrape time how many workers take no new work for want of memory."""

    def watch_streams(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Where to read at scrape time how many clients follow, by how they do: "events", "list", "socket"."""

    def watch_wal(self, read: Callable[[], int | None]) -> None:
        """Where to read the size in bytes of the store's write-ahead log at scrape time; None: it has none."""

    def seed(self, processes: Iterable[InFlight]) -> None:
        """What the store held in each state that is not final, before the first `changed`."""
