"""``/reconciliation``: examine the store, see how far it is, and what was found."""

from __future__ import annotations

from typing import Any

from strangler.domain import instant
from strangler.engine.reconcile import Reconciler, Report
from strangler.engine.reconcile import Told as Found
from strangler.operations.api import views
from strangler.operations.api.endpoint import Answered, Asked, Done, Endpoint, Role, Told
from strangler.operations.api.schemas import COUNT, ID, INSTANT, NUMBER, TEXT, TRUTH, a_list, an_object, one_of

FINDING = an_object(
    {"code": TEXT, "wrong": TEXT, "advice": TEXT, "standing": one_of(["opened", "open", "accepted"])},
    {"process": ID, "exception": NUMBER},
)
REPORT = an_object(
    {
        "number": NUMBER,
        "startedAt": INSTANT,
        "outcome": one_of(["running", "finished", "stopped", "failed"]),
        "bodies": TRUTH,
        "total": COUNT,
        "processes": COUNT,
        "found": COUNT,
        "opened": COUNT,
        "open": COUNT,
        "accepted": COUNT,
        "mended": COUNT,
        "codes": {"type": "object", "additionalProperties": COUNT},
        "findings": a_list(FINDING),
    },
    {"endedAt": INSTANT, "why": TEXT},
)


def endpoints(reconciler: Reconciler) -> tuple[Endpoint, ...]:
    """The endpoints of this module."""

    async def shown(asked: Asked) -> Told:
        report = reconciler.latest
        return Done({} if report is None else {"report": document(report)})

    async def started(asked: Asked) -> Told:
        report, new = reconciler.begin(bodies=asked.body.get("bodies", False))
        return Done({"report": document(report)}, 202 if new else 200, f"run {report.number}")

    return (
        Endpoint(
            method="GET",
            path="/reconciliation",
            name="getReconciliation",
            about="The run under way, or the last one since the start: how far it is, and what it found.",
            group="reconciliation",
            handle=shown,
            answers={200: Answered("Its report, if there was one", an_object({}, {"report": REPORT}))},
        ),
        Endpoint(
            method="POST",
            path="/reconciliation",
            name="startReconciliation",
            about="Compares all that is stored with what has to hold of it; each mismatch becomes an exception, once.",
            group="reconciliation",
            role=Role.OPERATOR,
            handle=started,
            body={"bodies": {**TRUTH, "description": "every body is read and compared with its digest, too"}},
            answers={
                202: Answered("It has begun", an_object({"report": REPORT})),
                200: Answered("One is under way", an_object({"report": REPORT})),
            },
        ),
    )


def document(report: Report) -> dict[str, Any]:
    """A report as it is answered."""
    return {
        "number": report.number,
        "startedAt": instant.to_text(report.started_at),
        "outcome": report.outcome,
        "bodies": report.bodies,
        "total": report.total,
        "processes": report.processes,
        "found": sum(report.codes.values()),
        **{name: report.standings.get(name, 0) for name in ("opened", "open", "accepted")},
        "mended": report.mended,
        "codes": dict(report.codes),
        "findings": [_finding(found) for found in report.findings],
        **views.known((("endedAt", views.at(report.ended_at)), ("why", report.why))),
    }


def _finding(found: Found) -> dict[str, Any]:
    finding = found.finding
    return {
        "code": finding.code,
        "wrong": finding.wrong,
        "advice": finding.advice,
        "standing": found.standing,
        **views.known((("process", finding.process_id), ("exception", found.exception))),
    }
