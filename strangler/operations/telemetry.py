"""The instrument: what the rooms tell becomes a count or a line."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping

from strangler.domain.delivery import Delivery, DeliveryAttempt, DeliveryState
from strangler.domain.exceptions import ExceptionKind
from strangler.domain.exchange import Attempt, AttemptOutcome, Request
from strangler.domain.process import Process, State
from strangler.domain.tracing import Span, attempt_name, child_span, parse
from strangler.domain.transitions import Change
from strangler.engine.instrument import AccessLog, Level, QueueReading, StandingReading
from strangler.engine.intake import correlation_id
from strangler.operations import series
from strangler.operations.lines import describe, trace
from strangler.operations.logs import Logs
from strangler.operations.metrics import Counts, Exposition
from strangler.ports import DeliveryTotal, InFlight

_REVIEW = (State.IN_DOUBT, False)
"""In doubt, and only a person can settle it."""
_WAITING = (State.RECEIVED, State.WAITING, State.FOLLOWING)
"""To be sent, or asked about."""


class Telemetry:
    """An `Instrument` that counts for Prometheus and logs lines.

    Never told are: bodies, header values, the query of a target, idempotency keys, the hashes of callers, and the
    reason of a process, which a policy may have taken from a body.
    """

    def __init__(self, logs: Logs, *, version: str, started_at: int, access_log: AccessLog = "recorded") -> None:
        self.access_log: AccessLog = access_log
        self.version = version
        self.counts = Counts(version, started_at)
        self.exposition = Exposition(self.counts)
        self._logs = logs
        self._routes = self.counts.routes
        self._store_reason: str | None = None
        self._policy_errors: str | None = None
        self.counts.readings.lines_dropped = lambda: logs.dropped

    # ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def accepted(self, process: Process, seconds: float) -> None:
        """A request was recorded, ``seconds`` after its head had arrived."""
        route = self._routes[process.route]
        route.recording = True
        route.accepted += 1
        route.acknowledgement.observe(seconds)

    def replayed(self, process: Process) -> None:
        """A request joined the process of its idempotency key."""
        route = self._routes[process.route]
        route.recording = True
        route.replayed += 1

    def refused(self, route: str, code: str) -> None:
        """A request was refused; ``code`` is the name of the problem."""
        _count(self._routes[route].refused, code)

    def limited(self, route: str, kind: str) -> None:
        """A client was told that it had sent too much."""
        self._routes[route].limited[kind] += 1

    def would_refuse(self, route: str, code: str, detail: str) -> None:
        """It would have been refused. ``detail`` is not told: it may quote the request."""
        _count(self._routes[route].would_refuse, code)
        self._logs.line("info", "would_refuse", {"route": route, "code": code})

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
        """A request was answered to the end: the one line of the access log."""
        if self.access_log == "none":
            return
        self._logs.line(
            "info",
            "request",
            {
                "route": route or None,
                "method": request.method or None,  # where the head could not be read there is none
                "path": request.path or None,
                "status": status,
                "code": code or None,
                "ms": seconds * 1000,
                "bytes": sent,
                "decision": decision or None,
                "detail": detail or None,
                "correlationId": process.correlation_id if process is not None else correlation_id(request),
                "process": process.id if process is not None else None,
                "caller": process.caller_name if process is not None else None,
                "address": request.peer.address or None,
                **_trace_of(request, process),
            },
        )

    def polled(self, route: str, resource: str) -> None:
        """A process resource was read."""
        polls = self._routes[route].polls
        polls[resource if resource in polls else series.OTHER] += 1

    def passed_through(self, route: str, status: int, seconds: float) -> None:
        """A passthrough exchange ended; status 499 where the client left first."""
        counted = self._routes[route]
        counted.passed[series.STATUS_CLASS[status] if 0 <= status < 1000 else -1] += 1
        histogram = counted.passthrough
        histogram.counts[bisect_left(series.PASSTHROUGH, seconds)] += 1
        histogram.sum += seconds

    # ── Processes ────────────────────────────────────────────────────────────────────────────────────────────────────

    def changed(self, change: Change) -> None:
        """A change was committed."""
        before, process = change.before, change.process
        route = self._routes[process.route]
        route.recording = True
        self.moved(
            process.route,
            (before.state, before.settling) if before is not None else None,
            (process.state, process.settling),
        )
        if process.final:
            route.ended[process.state] += 1
            route.completion.observe(((process.finished_at or process.updated_at) - process.created_at) / 1000)
        if process.state is State.IN_DOUBT and (before is None or before.state is not State.IN_DOUBT):
            route.doubts += 1
        self._tell_change(before, process)

    def moved(self, name: str, before: tuple[State, bool] | None, after: tuple[State, bool]) -> None:
        """A process of a route went from one (state, settling) to another, in this worker or another one."""
        route = self._routes[name]
        in_flight = route.in_flight
        if before is not None and before[0] in in_flight:
            in_flight[before[0]] -= 1
            route.unconfirmed -= before == _REVIEW
        if after[0] in in_flight:
            in_flight[after[0]] += 1
            route.unconfirmed += after == _REVIEW

    def _tell_change(self, before: Process | None, process: Process) -> None:
        level: Level = "debug"
        event = "changed"
        if _unconfirmed(process):
            level, event = "warning", "in_doubt"  # a person is needed
        elif process.state in (State.EXPIRED, State.CANCELLED):
            level, event = "info", "ended"  # without an attempt that could say so
        if not self._logs.enabled(level):
            return
        fields = _about(process)
        fields["state"] = process.state
        if before is not None:
            fields["from"] = before.state
        self._logs.line(level, event, fields)

    def attempt_ended(self, process: Process, attempt: Attempt) -> None:
        """An attempt ended and its outcome was committed."""
        route = self._routes[process.route]
        route.recording = True
        seconds = None
        if attempt.outcome is not None:
            route.attempts[attempt.outcome] += 1
        if attempt.ended_at is not None:
            seconds = max(0, attempt.ended_at - attempt.started_at) / 1000
            route.attempt_seconds.observe(seconds)
        interrupted = attempt.outcome is AttemptOutcome.INTERRUPTED
        if self.access_log == "none" and not interrupted:
            return
        fields = _about(process)
        fields |= {
            "attempt": attempt.number,
            "outcome": attempt.outcome,
            "status": attempt.status,
            "detail": attempt.detail,
            "ms": seconds * 1000 if seconds is not None else None,
            "state": process.state,
            "effect": process.effect,
        }
        if process.trace is not None:
            ours = child_span(process.trace, attempt_name(attempt.number))
            fields |= {"spanId": ours.span_id, "parentSpanId": fields["spanId"]}
        self._logs.line("warning" if interrupted else "info", "attempt", fields)

    def delivery_tried(
        self, delivery: Delivery, attempt: DeliveryAttempt, seconds: float | None, trace: str | None = None
    ) -> None:
        """An attempt to tell a receiver was committed."""
        receiver = self.counts.receivers[delivery.receiver]
        receiver.tried[attempt.outcome] += 1
        dead = delivery.state is DeliveryState.DEAD
        receiver.dead += dead
        if seconds is not None:
            receiver.delivered += 1
            receiver.delivery.observe(seconds)
        if self.access_log == "none" and seconds is not None:
            return
        fields: dict[str, object] = {
            "receiver": delivery.receiver,
            "delivery": delivery.id,
            "process": delivery.process_id,
            "attempt": attempt.number,
            "outcome": attempt.outcome,
            "status": attempt.status,
            "address": attempt.address,
            "detail": attempt.error,
            "ms": attempt.duration,
            "state": delivery.state,
            **_span(parse(trace.encode()) if trace is not None else None),
        }
        self._logs.line("warning" if dead or delivery.state is DeliveryState.HELD else "info", "delivery", fields)

    def late_reply(self, process: Process, settled: bool) -> None:
        """A reply came under a stale fence; it settled the process, or was kept as evidence."""
        route = self._routes[process.route]
        route.recording = True
        route.late[settled] += 1
        fields = _about(process)
        fields |= {"settled": settled, "state": process.state}
        self._logs.line("warning", "late_reply", fields)

    def seed(self, processes: Iterable[InFlight]) -> None:
        """What the store held in each state that is not final, before the first `changed`."""
        for held in processes:
            route = self._routes[held.route]
            route.recording = True
            route.in_flight[held.state] += held.processes
            if held.state is State.IN_DOUBT and not held.settling:
                route.unconfirmed += held.processes

    # ── The server ───────────────────────────────────────────────────────────────────────────────────────────────────

    def group_commit(self, size: int, seconds: float) -> None:
        """The store committed ``size`` changes with one fsync."""
        self.counts.batch.observe(size)
        self.counts.commit.observe(seconds)

    def reconciled(
        self, outcome: str, at: int, processes: int, findings: int, standings: Mapping[str, int], why: str | None
    ) -> None:
        """A run of reconciliation ended."""
        reconcile = self.counts.reconcile
        reconcile.runs[outcome] += 1
        if outcome == "finished":
            reconcile.findings = findings - standings.get("accepted", 0)
            reconcile.ended_at = at
        fields = {"outcome": outcome, "processes": processes, "findings": findings, **standings, "detail": why}
        self._logs.line("info" if outcome == "finished" else "error", "reconciled", fields)

    def store_refuses(self, reason: str | None) -> None:
        """The store stopped (with a reason), or began again (None), to take new work."""
        self.counts.refusing = reason is not None
        if reason != self._store_reason:
            if reason is None:
                self._logs.line("info", "store_takes_work", {})
            else:
                self._logs.line("error", "store_refuses", {"detail": reason})
        self._store_reason = reason

    def policy_loaded(
        self, revision: str, routes: int, names: Collection[str] = (), recording: Collection[str] = ()
    ) -> None:
        """A policy table is in force."""
        counts = self.counts
        counts.reloads += 1
        counts.policy_routes = routes
        counts.policy_stale = False
        counts.revision = revision
        counts.name_routes(names, recording)
        self._policy_errors = None
        self._logs.line("info", "policy_loaded", {"revision": revision, "routes": routes})

    def policy_refused(self, errors: str) -> None:
        """A policy did not load; the one in force stays."""
        self.counts.reload_failures += 1
        self.counts.policy_stale = True
        self._policy_errors = errors
        self._logs.line("error", "policy_refused", {"detail": errors})

    def note(self, event: str, level: Level = "info", **fields: object) -> None:
        """Anything else worth a line."""
        self._logs.line(level, event, fields)

    def failed(self, where: str, error: BaseException) -> None:
        """A defect of ours: counted by place, and told with its traceback."""
        self.counts.defect(where)
        self._logs.line("error", "defect", {"place": where, "error": describe(error), "traceback": trace(error)})

    def waiting(self) -> dict[str, int]:
        """How many processes of each route are to be sent, or asked about."""
        counts = {name: sum(route.in_flight[state] for state in _WAITING) for name, route in self._routes.items()}
        return {name: count for name, count in counts.items() if count > 0}

    def degraded(self) -> dict[str, str]:
        """What does not work as it should, by name, with the reason."""
        reasons = {"store": self._store_reason, "policy": self._policy_errors}
        return {name: reason for name, reason in reasons.items() if reason is not None}

    # ── Read at the moment of a scrape ───────────────────────────────────────────────────────────────────────────────

    def watch_queues(self, read: Callable[[], Mapping[str, QueueReading]]) -> None:
        """Where to read the queues."""
        self.counts.readings.queues = read

    def watch_deliveries(self, read: Callable[[], Iterable[DeliveryTotal]]) -> None:
        """Where to read how many deliveries are pending, held or dead."""
        self.counts.readings.deliveries = read

    def watch_exceptions(self, read: Callable[[], Mapping[ExceptionKind, int]]) -> None:
        """Where to read how many exceptions are open."""
        self.counts.readings.exceptions = read

    def watch_streams(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Where to read how many clients follow, by how they do."""
        self.counts.readings.streams = read

    def watch_standing(self, read: Callable[[], Mapping[str, StandingReading]]) -> None:
        """Where to read what stands in the way of each route that records."""
        self.counts.readings.standing = read

    def watch_memory(self, read: Callable[[], int]) -> None:
        """Where to read how many workers take no new work for want of memory."""
        self.counts.readings.memory = read

    def watch_wal(self, read: Callable[[], int | None]) -> None:
        """Where to read the size in bytes of the store's write-ahead log."""
        self.counts.readings.wal = read

    def watch_draining(self, read: Callable[[], bool]) -> None:
        """Where to read whether the server is going away."""
        self.counts.readings.draining = read


def _count(counts: dict[str, int], code: str) -> None:
    if code not in series.CODES:
        code = series.OTHER
    counts[code] = counts.get(code, 0) + 1


def _unconfirmed(process: Process) -> bool:
    return process.state is State.IN_DOUBT and not process.settling


def _about(process: Process) -> dict[str, object]:
    return {
        "route": process.route,
        "process": process.id,
        "correlationId": process.correlation_id,
        "caller": process.caller_name,
        **_span(parse(process.trace.encode()) if process.trace is not None else None),
    }


def _span(span: Span | None) -> dict[str, object]:
    return {"traceId": span.trace_id, "spanId": span.span_id} if span is not None else {}


def _trace_of(request: Request, process: Process | None) -> dict[str, object]:
    """The span under which a request was answered: ours where it was accepted, else that of its client."""
    theirs = parse(request.field(b"traceparent"))
    ours = parse(process.trace.encode()) if process is not None and process.trace is not None else None
    if theirs is None:
        return _span(ours)
    if ours is None or ours.trace_id != theirs.trace_id:
        return {"traceId": theirs.trace_id, "parentSpanId": theirs.span_id}
    return {**_span(ours), "parentSpanId": theirs.span_id}
