"""The table of legal transitions, and `apply`: nothing else changes a process.

A transition is a plain value (`steps`). `apply` yields a `Change`: the process after it, the event that says so, and
the outbox row and the deliveries where the change is public. A store commits a change whole, or says that it is
stale. An event carries the fields that it set, and a SHA-256 over the event before it and its own content: `history`
reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from strangler.domain.delivery import Delivery, raised
from strangler.domain.errors import IllegalTransition
from strangler.domain.events import Event, OutboxRow, following, outbox_row
from strangler.domain.process import ACCEPTED_FIELDS, FINAL, Effect, Process, PublicState, State, public_state
from strangler.domain.steps import (
    Accept,
    Cancel,
    Claim,
    Doubt,
    Expire,
    Finish,
    Follow,
    Postpone,
    Probed,
    Promised,
    Report,
    Resume,
    Step,
    Transition,
)

_PLACES = {name: place for place, name in enumerate(Process._fields)}
_SETTLED = len(ACCEPTED_FIELDS)
_UNTOUCHED = tuple(Process._field_defaults[name] for name in Process._fields[_PLACES["due_at"] + 1 :])
"""What is behind all that a beginning sets."""

_ENDS = frozenset({State.COMPLETED, State.REJECTED, State.FAILED})

TABLE: Mapping[State | None, Mapping[type, frozenset[State]]] = {
    None: {Accept: frozenset({State.RECEIVED})},
    State.RECEIVED: {
        Claim: frozenset({State.PROCESSING}),
        Report: frozenset({State.RECEIVED}),
        Promised: frozenset({State.RECEIVED}),
        Cancel: frozenset({State.CANCELLED}),
        Expire: frozenset({State.EXPIRED}),
        Finish: _ENDS,  # only by a person's word: it happened on another way
    },
    State.PROCESSING: {
        Postpone: frozenset({State.WAITING}),
        Follow: frozenset({State.FOLLOWING}),
        Report: frozenset({State.PROCESSING}),
        Promised: frozenset({State.PROCESSING}),
        Doubt: frozenset({State.IN_DOUBT}),
        Finish: _ENDS,
    },
    State.WAITING: {
        Claim: frozenset({State.PROCESSING}),
        Report: frozenset({State.WAITING}),
        Promised: frozenset({State.WAITING}),
        Doubt: frozenset({State.IN_DOUBT}),  # only while it is not sure that no earlier attempt did anything
        Finish: _ENDS,  # failed, or by a person's word
        Cancel: frozenset({State.CANCELLED}),  # only while no earlier attempt is unresolved
        Expire: frozenset({State.EXPIRED}),  # likewise
    },
    State.FOLLOWING: {
        Follow: frozenset({State.FOLLOWING}),  # not yet
        Report: frozenset({State.FOLLOWING}),
        Promised: frozenset({State.FOLLOWING}),
        Doubt: frozenset({State.IN_DOUBT}),  # only for a person: the upstream took it, so it is never repeated
        Finish: _ENDS,
    },
    State.IN_DOUBT: {
        Report: frozenset({State.IN_DOUBT}),
        Promised: frozenset({State.IN_DOUBT}),
        Doubt: frozenset({State.IN_DOUBT}),  # only from settling to review: what was to settle it could not
        Probed: frozenset({State.IN_DOUBT}),  # only while it is to be settled without a person
        Resume: frozenset({State.WAITING}),
        Finish: _ENDS,
    },
    **{state: {} for state in FINAL},
}


class Change(NamedTuple):
    """One or more transitions of one process, committed as one."""

    before: Process | None
    process: Process
    events: tuple[Event, ...]
    outbox: tuple[OutboxRow, ...]
    deliveries: tuple[Delivery, ...] = ()  # to who is called back, made by this change and by nothing else

    def then(self, transition: Transition, now: int) -> Change:
        """This change, and one more transition in the same commit."""
        following = apply(self.process, transition, now)
        return Change(
            self.before,
            following.process,
            self.events + following.events,
            self.outbox + following.outbox,
            self.deliveries + following.deliveries,
        )


def apply(process: Process | None, transition: Transition, now: int) -> Change:
    """What becomes of ``process`` (None: there is none yet) by ``transition`` at the instant ``now``.

    Raises:
        IllegalTransition: the table does not know it, or a guard forbids it.
    """
    before = process.state if process is not None else None
    targets = TABLE[before].get(type(transition))
    if targets is None:
        raise IllegalTransition(f"{type(transition).__name__} from {before}")
    if process is None:
        assert isinstance(transition, Accept), "the table knows no other beginning"
        return _begun(transition, now)
    assert not isinstance(transition, Accept), "the table lets nothing begin twice"
    fields, note = _fields(process, transition, now)
    to = fields["state"]
    if to not in targets:
        raise IllegalTransition(f"{type(transition).__name__} from {before} to {to}")
    public = _shows(process, fields)
    if public:
        fields["version"] = process.version + 1
        fields["updated_at"] = now
    return _change(process, fields, type(transition).__name__, note, public, now)


def _begun(accept: Accept, now: int) -> Change:
    """The change that begins a process. What it sets is the same for all, so none of the steps of `_change` decides."""
    draft, references = accept.draft, accept.business_references
    written: dict[str, Any] = {
        name: value for name, value in zip(ACCEPTED_FIELDS, draft, strict=False) if value is not None
    }
    written["state"] = State.RECEIVED
    written["due_at"] = now
    if references is not None:
        written["business_references"] = references
    written["version"] = 1
    written["updated_at"] = now
    event = following(draft, "Accept", None, 1, now, written)
    begun = (State.RECEIVED, 1, 1, event.digest, now, now)
    process = tuple.__new__(Process, (*draft[:_SETTLED], *begun, *_UNTOUCHED))
    if references is not None:
        process = process._replace(business_references=references)
    return Change(None, process, (event,), (outbox_row(process, event),), raised(None, process, now))


def _fields(process: Process, step: Step, now: int) -> tuple[dict[str, Any], str | None]:
    """The fields that the step sets, and a note for the history that no client sees."""
    match step:
        case Claim(owner):
            return {
                "state": State.PROCESSING,
                "owner": owner,
                "due_at": None,
                "fence": process.fence + 1,
                "tries": process.tries + 1,
                "attempts": process.attempts + 1,
            }, None
        case Finish():
            return _finished(step, now), step.note
        case Postpone(due_at, note):
            return {
                "state": State.WAITING,
                "owner": None,
                "due_at": due_at,
                "attempts": process.attempts - 1,  # what surely did nothing does not count
            }, note
        case Follow():
            return _followed(process, step), step.note
        case Report(word, text):
            # Why nobody knows is told until somebody says better.
            why = process.reason if process.public_state is PublicState.UNCONFIRMED else None
            return {"state": process.state, "status": word, "reason": text or why}, None
        case Promised():
            if process.promised:
                raise IllegalTransition("Promised what is promised")
            return {"state": process.state, "promised": True}, None
        case Doubt(reason, settling, due_at):
            _guard_doubt(process, settling, due_at)
            return _doubted(process, step), reason if settling else None
        case Probed(due_at, note):
            if not process.settling:
                raise IllegalTransition("Probed while a person is asked")
            return {"state": State.IN_DOUBT, "due_at": due_at, "probes": process.probes + 1}, note
        case Resume():
            return _resumed(process, step), None
        case Cancel(reason):
            return _withdrawn(process, State.CANCELLED, reason, now), None
        case Expire():
            return _withdrawn(process, State.EXPIRED, "deadline-passed", now), None


def _doubted(process: Process, doubt: Doubt) -> dict[str, Any]:
    return {
        **({"probes": 0} if process.state is not State.IN_DOUBT and process.probes else {}),
        "state": State.IN_DOUBT,
        "owner": None,
        "due_at": doubt.due_at,
        "unresolved": True,
        "settling": doubt.settling,
        "status": process.status if doubt.settling else None,
        "reason": process.reason if doubt.settling else doubt.reason,
        "effect": None if doubt.settling else Effect.UNKNOWN,
    }


def _resumed(process: Process, resume: Resume) -> dict[str, Any]:
    status, reason = (process.status, process.reason) if process.settling else (None, None)
    return {
        **(_did_nothing(process) if resume.absent else {}),
        "state": State.WAITING,
        "due_at": resume.due_at,
        "settling": False,
        "status": status,
        "reason": reason,
        "effect": None,
    }


def _finished(finish: Finish, now: int) -> dict[str, Any]:
    status, media_type, length, kept = finish.result or (None, None, None, False)
    references = finish.business_references
    return {
        **({"business_references": references} if references is not None else {}),
        "state": finish.state,
        "owner": None,
        "due_at": None,
        "unresolved": False,
        "settling": False,
        "finished_at": now,
        "status": finish.status,
        "reason": finish.reason,
        "effect": finish.effect,
        "result_status": status,
        "result_type": media_type,
        "result_length": length,
        "result_kept": kept,
    }


def _followed(process: Process, transition: Follow) -> dict[str, Any]:
    told = (transition.status, transition.reason) if transition.status is not None else (process.status, process.reason)
    return {
        "state": State.FOLLOWING,
        "owner": None,
        "due_at": transition.due_at,
        "status": told[0],
        "reason": told[1],
        "follow_target": transition.target,
        "follow_until_at": transition.until_at,
    }


def _withdrawn(process: Process, state: State, reason: str | None, now: int) -> dict[str, Any]:
    if not process.cancellable:
        raise IllegalTransition(f"to {state} while an earlier attempt is unresolved")
    return {"state": state, "due_at": None, "finished_at": now, "status": None, "reason": reason, "effect": Effect.NONE}


def _did_nothing(process: Process) -> dict[str, Any]:
    """What follows from the word of the upstream that the attempt in doubt did nothing.

    An attempt before it that is still unresolved stays so.
    """
    if process.repeated:
        raise IllegalTransition("repeated a second time because the upstream knows of nothing")
    attempts = process.attempts - 1
    return {"attempts": attempts, "unresolved": attempts > 0, "repeated": True}


def _guard_doubt(process: Process, settling: bool, due_at: int | None) -> None:
    if process.state is State.WAITING and not process.unresolved and not process.repeated:
        raise IllegalTransition("Doubt from waiting while nothing is unresolved")
    if process.state is State.IN_DOUBT and not (process.settling and not settling):
        raise IllegalTransition("Doubt from in_doubt")
    if process.state is State.FOLLOWING and settling:
        raise IllegalTransition("Doubt from following, to be settled without a person")
    if due_at is not None and not settling:
        raise IllegalTransition("Doubt that a person is to settle, and the upstream asked about")


def _shows(process: Process, fields: dict[str, Any]) -> bool:
    """Whether a client can see it when these fields are set."""
    return (
        fields.get("status", process.status) != process.status
        or fields.get("reason", process.reason) != process.reason
        or fields.get("effect", process.effect) != process.effect
        or public_state(fields["state"], fields.get("settling", process.settling)) is not process.public_state
    )


def _change(before: Process, fields: dict[str, Any], name: str, note: str | None, public: bool, now: int) -> Change:
    """The change that sets ``fields``, with its event and, where it is public, its outbox row."""
    event = following(before, name, before.state, fields.get("version", before.version), now, fields, note)
    fields["sequence"], fields["head"] = event.sequence, event.digest
    process = _with(before, fields)
    if not public:
        return Change(before, process, (event,), ())
    told = raised(before.public_state, process, now)
    return Change(before, process, (event,), (outbox_row(process, event),), told)


def _with(process: Process, fields: dict[str, Any]) -> Process:
    """The process with these fields set."""
    # As `_replace`, which takes twice as long because it asks of each of fifty fields whether it is set.
    values = list(process)
    for name, value in fields.items():
        values[_PLACES[name]] = value
    return tuple.__new__(Process, values)
