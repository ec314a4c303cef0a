"""Every metric by name: what it is, what it means and by which labels it is told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from strangler.operations import series


class Family(NamedTuple):
    """One metric. Samples of a counter end in ``_total``, of a histogram in ``_bucket``, ``_sum``, ``_count``."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: Sequence[float] = ()

    @property
    def shown_name(self) -> str:
        """The name as one queries it; for a histogram the one without a suffix."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


# ── Accepting ────────────────────────────────────────────────────────────────────────────────────────────────────────

ACCEPTED = Family("strangler_accepted", "counter", "Requests that became a process.", ("route",))
REPLAYED = Family(
    "strangler_replayed", "counter", "Requests that joined the process of their idempotency key.", ("route",)
)
REFUSED = Family(
    "strangler_refused", "counter", "Requests that were refused, by the name of the problem.", ("route", "code")
)
WOULD_REFUSE = Family(
    "strangler_would_refuse",
    "counter",
    "Requests that would have been refused, had `accept.enforce` been on.",
    ("route", "code"),
)
LIMITED = Family(
    "strangler_limited",
    "counter",
    "Requests of clients that sent more than `limits` allows, by what they sent.",
    ("route", "kind"),
)
ACKNOWLEDGEMENT = Family(
    "strangler_acknowledgement_seconds",
    "histogram",
    "From the head of a request to the commit of its process.",
    ("route",),
    series.ACKNOWLEDGEMENT,
)

# ── Processes ────────────────────────────────────────────────────────────────────────────────────────────────────────

PROCESSES = Family("strangler_processes", "gauge", "Processes that have not ended, by state.", ("route", "state"))
UNCONFIRMED = Family(
    "strangler_unconfirmed_processes", "gauge", "Processes in doubt that only a person can settle.", ("route",)
)
DOUBTS = Family("strangler_in_doubt", "counter", "Times that nobody knew what a call had done.", ("route",))
ENDED = Family("strangler_ended", "counter", "Processes that ended, by their final state.", ("route", "state"))
COMPLETION = Family(
    "strangler_completion_seconds",
    "histogram",
    "From the acceptance of a process to its end.",
    ("route",),
    series.COMPLETION,
)
POLLS = Family(
    "strangler_polls",
    "counter",
    "Reads of process resources, by the route that made the process and the resource.",
    ("route", "resource"),
)

# ── Calling ──────────────────────────────────────────────────────────────────────────────────────────────────────────

ATTEMPTS = Family("strangler_attempts", "counter", "Recorded calls to the upstream, by outcome.", ("route", "outcome"))
ATTEMPT_SECONDS = Family(
    "strangler_attempt_seconds", "histogram", "How long a recorded call took.", ("route",), series.ATTEMPT
)
LATE_REPLIES = Family(
    "strangler_late_replies",
    "counter",
    "Replies that came under a stale fence: they settled the process, or were kept as evidence.",
    ("route", "settled"),
)
QUEUE_PROCESSES = Family("strangler_queue_processes", "gauge", "Processes that wait to be sent.", ("route",))
QUEUE_BYTES = Family("strangler_queue_bytes", "gauge", "Their request bodies.", ("route",))
QUEUE_AGE = Family(
    "strangler_queue_oldest_seconds", "gauge", "How long the longest waiting process has been due.", ("route",)
)
RUNNING = Family("strangler_calls_running", "gauge", "Recorded calls under way.", ("route",))
HELD = Family("strangler_route_held", "gauge", "1 while an operator holds the recorded calls back.", ("route",))
CIRCUIT = Family("strangler_circuit", "gauge", "1 for the state that the circuit is in.", ("route", "state"))
ORDERED = Family(
    "strangler_route_mode_ordered", "gauge", "1 for the mode that an operator ordered for a while.", ("route", "mode")
)

# ── Telling ──────────────────────────────────────────────────────────────────────────────────────────────────────────

DELIVERY_ATTEMPTS = Family(
    "strangler_delivery_attempts",
    "counter",
    "Attempts to tell a receiver, by what came of them.",
    ("receiver", "answer"),
)
DELIVERIES_ENDED = Family(
    "strangler_deliveries_ended", "counter", "Deliveries that were taken, or given up.", ("receiver", "delivery")
)
DELIVERY_SECONDS = Family(
    "strangler_delivery_seconds",
    "histogram",
    "From the commit of a change to its delivery.",
    ("receiver",),
    series.DELIVERY,
)
DELIVERIES = Family(
    "strangler_deliveries",
    "gauge",
    "Deliveries that are to be sent, that are held while their receiver is paused, and dead letters.",
    ("receiver", "delivery"),
)
DELIVERY_AGE = Family(
    "strangler_delivery_oldest_seconds", "gauge", "How long the longest waiting delivery has been due.", ("receiver",)
)

# ── Passing through ──────────────────────────────────────────────────────────────────────────────────────────────────

PASSED = Family(
    "strangler_passthrough_requests",
    "counter",
    "Requests that passed through, by the class of the status; `client_left` where the client left first.",
    ("route", "status"),
)
PASSTHROUGH = Family(
    "strangler_passthrough_seconds",
    "histogram",
    "From the head of a request that passed through to the end of its answer.",
    ("route",),
    series.PASSTHROUGH,
)

# ── The store ────────────────────────────────────────────────────────────────────────────────────────────────────────

BATCH = Family("strangler_group_commit_changes", "histogram", "Changes that one fsync made durable.", (), series.BATCH)
COMMIT = Family("strangler_group_commit_seconds", "histogram", "How long such a commit took.", (), series.COMMIT)
WAL = Family("strangler_store_wal_bytes", "gauge", "Size of the store's write-ahead log.")
REFUSING = Family("strangler_store_refusing", "gauge", "1 while the store takes no new work.")

# ── What people look at ──────────────────────────────────────────────────────────────────────────────────────────────

EXCEPTIONS = Family("strangler_exceptions_open", "gauge", "Open exceptions, by kind.", ("kind",))
RECONCILE_RUNS = Family("strangler_reconcile_runs", "counter", "Runs of reconciliation, by how they ended.", ("run",))
RECONCILE_FINDINGS = Family(
    "strangler_reconcile_findings", "gauge", "Findings of the last run that finished, accepted ones not counted."
)
RECONCILE_ENDED = Family(
    "strangler_reconcile_finished_seconds", "gauge", "When the last run finished, in seconds since the epoch."
)

# ── The policy ───────────────────────────────────────────────────────────────────────────────────────────────────────

RELOADS = Family("strangler_policy_reloads", "counter", "Policy tables that came into force, the first one included.")
RELOAD_FAILURES = Family("strangler_policy_reload_failures", "counter", "Policies that did not load.")
POLICY_STALE = Family("strangler_policy_stale", "gauge", "1 while the last policy that was read did not load.")
POLICY_ROUTES = Family("strangler_policy_routes", "gauge", "Routes of the policy in force.")
POLICY_INFO = Family("strangler_policy_info", "gauge", "Always 1; the revision of the policy in force.", ("revision",))

# ── The server itself ────────────────────────────────────────────────────────────────────────────────────────────────

STREAMS = Family(
    "strangler_open_streams",
    "gauge",
    "Clients that follow a process (`events`, `socket`) or all of their own (`list`).",
    ("kind",),
)
SHORT_OF_MEMORY = Family(
    "strangler_workers_short_of_memory", "gauge", "Workers that take no new work for want of memory."
)
DRAINING = Family("strangler_draining", "gauge", "1 while the server is going away.")
DEFECTS = Family("strangler_defects", "counter", "Exceptions that nobody expected, by the place.", ("place",))
LINES_DROPPED = Family("strangler_log_lines_dropped", "counter", "Log lines that found no room or no reader.")
BUILD = Family("strangler_build_info", "gauge", "Always 1; what is running.", ("version", "python"))
STARTED = Family("strangler_start_time_seconds", "gauge", "When the server started, in seconds since the epoch.")

FAMILIES = (
    ACCEPTED,
    REPLAYED,
    REFUSED,
    WOULD_REFUSE,
    LIMITED,
    ACKNOWLEDGEMENT,
    PROCESSES,
    UNCONFIRMED,
    DOUBTS,
    ENDED,
    COMPLETION,
    POLLS,
    ATTEMPTS,
    ATTEMPT_SECONDS,
    LATE_REPLIES,
    QUEUE_PROCESSES,
    QUEUE_BYTES,
    QUEUE_AGE,
    RUNNING,
    HELD,
    CIRCUIT,
    ORDERED,
    DELIVERY_ATTEMPTS,
    DELIVERIES_ENDED,
    DELIVERY_SECONDS,
    DELIVERIES,
    DELIVERY_AGE,
    PASSED,
    PASSTHROUGH,
    BATCH,
    COMMIT,
    WAL,
    REFUSING,
    EXCEPTIONS,
    RECONCILE_RUNS,
    RECONCILE_FINDINGS,
    RECONCILE_ENDED,
    RELOADS,
    RELOAD_FAILURES,
    POLICY_STALE,
    POLICY_ROUTES,
    POLICY_INFO,
    STREAMS,
    SHORT_OF_MEMORY,
    DRAINING,
    DEFECTS,
    LINES_DROPPED,
    BUILD,
    STARTED,
)
