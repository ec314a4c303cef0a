"""What is kept how long: the rules that all stores share."""

from __future__ import annotations

from enum import IntFlag

from strangler.domain.process import Process, Tombstone
from strangler.ports import LONGEST_UPLOAD, Commit


class Part(IntFlag):
    """What of a final process can be forgotten before itself."""

    BODIES = 1  # its request and reply, and evidence of what was answered
    HISTORY = 2  # its events and the attempts that were made
    DELIVERIES = 4  # the log of its deliveries


NOTHING = Part(0)

ORPHAN_AGE = 4 * int(LONGEST_UPLOAD * 1000)
"""Milliseconds after which a chunk of a process that does not exist is swept: no body may take so long to arrive, even
where the clock was set forward by hours meanwhile."""

CHUNKS_GONE = "chunks of the request are gone: the clock was set forward by a day or more while it arrived"
"""Why a commit is refused that names them."""


def subject(commit: Commit) -> str:
    """The id of the process that a commit is about.

    Raises:
        ValueError: it is about none.
    """
    if commit.change is not None:
        return commit.change.process.id
    if commit.delivery is not None:
        return commit.delivery.before.process_id
    for part in (commit.attempt, commit.evidence, commit.opens):
        if part is not None and part.process_id is not None:
            return part.process_id
    raise ValueError("a commit without a change needs an attempt, evidence, an exception or a delivery")


def tombstone(process: Process, retain_until_at: int) -> Tombstone:
    """What is left of a process: for as long again as it was kept."""
    until_at = retain_until_at + process.retain
    return Tombstone(process.id, process.resource, process.caller, process.promise, until_at, process.parent_id)


def part_until(process: Process, retain_until_at: int, part: Part) -> int | None:
    """Until when a part of a final process is kept; None: as long as itself. It is counted like `retain`."""
    kept = {
        Part.BODIES: process.retain_bodies,
        Part.HISTORY: process.retain_history,
        Part.DELIVERIES: process.retain_deliveries,
    }[part]
    return None if kept is None else retain_until_at - process.retain + kept


def body_bytes(process: Process) -> int:
    """Bytes of its request and of its reply, as far as that is kept."""
    return process.body_size + ((process.result_length or 0) if process.result_kept else 0)
