"""What a client's word for a state means in the machine's words, for lists."""

from __future__ import annotations

from strangler.domain.process import Process, PublicState, State
from strangler.ports import ListQuery
from strangler.store.ids import is_id

MACHINE: dict[PublicState, frozenset[tuple[State, bool | None]]] = {
    PublicState.RECEIVED: frozenset({(State.RECEIVED, None)}),
    PublicState.PROCESSING: frozenset(
        {(State.PROCESSING, None), (State.WAITING, None), (State.FOLLOWING, None), (State.IN_DOUBT, True)}
    ),
    PublicState.UNCONFIRMED: frozenset({(State.IN_DOUBT, False)}),
    PublicState.COMPLETED: frozenset({(State.COMPLETED, None)}),
    PublicState.REJECTED: frozenset({(State.REJECTED, None)}),
    PublicState.FAILED: frozenset({(State.FAILED, None)}),
    PublicState.EXPIRED: frozenset({(State.EXPIRED, None)}),
    PublicState.CANCELLED: frozenset({(State.CANCELLED, None)}),
}
"""By public state, the states of the machine, each with what ``settling`` has to be (None: either)."""


def listed(process: Process, query: ListQuery) -> bool:
    """Whether a process belongs into a list."""
    return (
        process.caller == query.caller
        and process.resource == query.resource
        and (query.before_id is None or (is_id(query.before_id) and process.id < query.before_id))
        and (query.state is None or process.public_state is query.state)
        and (query.status is None or _bears(process, query))
        and (query.correlation_id is None or process.correlation_id == query.correlation_id)
        and (query.key is None or process.key == query.key)
        and (query.created_after is None or process.created_at > query.created_after)
        and (query.created_before is None or process.created_at < query.created_before)
    )


def _bears(process: Process, query: ListQuery) -> bool:
    """Whether a process goes by the status that is asked for: as stored, or as its promise translates its state."""
    if process.status is not None:
        return process.status == query.status
    return (process.promise, process.public_state) in query.status_means
