"""``strangler reconcile``: compare all that is stored with what has to hold of it, beside the traffic."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from typing import Any

from strangler.cli.asking import Ops, add_json_argument, add_ops_arguments
from strangler.cli.showing import print_json, print_table, short_time
from strangler.domain.errors import AskFailed

_LOOK_EVERY = 0.2  # seconds


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "reconcile",
        help="compare the record with itself; each mismatch becomes an exception",
        description="Has the server compare histories with rows, hash chains with their heads, deliveries with their "
        "logs, and so on, beside its traffic. Each mismatch becomes an exception, once; what was accepted as it is, is "
        "not opened again. Exit codes: 0 nothing is open; 1 something is, or it did not finish.",
    )
    parser.add_argument("--bodies", action="store_true", help="read every body, too, and compare it with its digest")
    parser.add_argument("--report", action="store_true", help="start nothing: show the run under way, or the last one")
    parser.add_argument("--why", default="by hand", metavar="TEXT", help="why; it stands in the audit log")
    add_json_argument(parser)
    add_ops_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Reconcile. Returns 0, or 1 where something is open or the run did not finish."""
    ops = Ops(arguments)
    if arguments.report:
        report = ops.get("/reconciliation").get("report")
        if report is None:
            raise AskFailed("there was no run since the server started")
    else:
        report = _followed(ops, {"bodies": arguments.bodies, "why": arguments.why})
    if arguments.json:
        print_json(report)
    else:
        _print(report)
    return 0 if report["outcome"] in ("finished", "running") and not report["opened"] + report["open"] else 1


def _followed(ops: Ops, body: Mapping[str, Any]) -> dict[str, Any]:
    """Start a run, and wait for its end."""
    report: dict[str, Any] = ops.post("/reconciliation", body)["report"]
    while report["outcome"] == "running":
        _progress(report)
        time.sleep(_LOOK_EVERY)
        report = ops.get("/reconciliation")["report"]
    _progress(None)
    return report


def _progress(report: Mapping[str, Any] | None) -> None:
    """On a terminal, one line that is written over."""
    if sys.stderr.isatty():
        text = "" if report is None else f"{report['processes']} of {report['total']}, {report['found']} found"
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _print(report: Mapping[str, Any]) -> None:
    began, ended = short_time(report["startedAt"]), short_time(report.get("endedAt"))
    print(f"run {report['number']}: {report['outcome']}, {began}{f' to {ended}' if ended else ''}")
    if "why" in report:
        print(f"  {report['why']}")
    counts = f"{report['opened']} new, {report['open']} open already, {report['accepted']} accepted as they are"
    print(f"{report['processes']} of {report['total']} processes; {report['found']} findings: {counts}")
    if report["mended"]:
        print(f"{report['mended']} exceptions closed: it is as it should be again")
    if report["findings"]:
        print()
        print_table(
            ("exception", "process", "what", "standing", "wrong"),
            (
                (one.get("exception"), one.get("process", "store"), one["code"], one["standing"], one["wrong"])
                for one in report["findings"]
            ),
        )
    if (left := report["found"] - len(report["findings"])) > 0:
        print(f"… and {left} more")
