"""What is kept how long: the rules that all stores share."""

from __future__ import annotations

from strangler.domain.process import Process, Tombstone
from strangler.ports import Commit

ORPHAN_AGE = 3_600_000
"""Milliseconds after which a chunk of a process that does not exist is swept: no acceptance reads a body so long."""


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
    return Tombstone(process.id, process.resource, process.caller, process.promise, retain_until_at + process.retain)
