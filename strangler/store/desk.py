"""What operators look for: the rules that all stores share."""

from __future__ import annotations

from strangler.ports import AuditQuery, Recorded


def commanded(recorded: Recorded, query: AuditQuery) -> bool:
    """Whether a command belongs into a list."""
    command = recorded.command
    return (
        (query.before is None or recorded.number < query.before)
        and (query.who is None or command.who == query.who)
        and (query.what is None or command.what == query.what)
        and (query.process_id is None or command.process_id == query.process_id)
    )
