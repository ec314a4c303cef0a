"""What belongs into a list of a client: the rules that all stores share."""

from __future__ import annotations

from collections.abc import Iterable

from strangler.domain.process import Process, PublicState, is_id
from strangler.ports import ListQuery


def listed(process: Process, query: ListQuery) -> bool:
    """Whether a process belongs into a list."""
    return (
        process.caller == query.caller
        and process.resource == query.resource
        and (query.before_id is None or (is_id(query.before_id) and process.id < query.before_id))
        and (query.state is None or process.public_state is query.state)
        and (query.status is None or bears(process, query.status, query.status_means))
        and (query.correlation_id is None or process.correlation_id == query.correlation_id)
        and (query.key is None or process.key == query.key)
        and (query.created_after is None or process.created_at > query.created_after)
        and (query.created_before is None or process.created_at < query.created_before)
    )


def bears(process: Process, status: str, means: Iterable[tuple[str, PublicState]]) -> bool:
    """Whether a process goes by a status: as stored, or as its promise translates its state."""
    if process.status is not None:
        return process.status == status
    return (process.promise, process.public_state) in means
