"""The status document: what a client sees of a process, as JSON. No member is ever null; what is unknown is absent."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from json.encoder import encode_basestring as _quoted

from strangler.domain import instant
from strangler.domain.idempotency import retained_from
from strangler.domain.process import Process, PublicState
from strangler.policy.model import ProcessPolicy, Promise


def process_url(process: Process) -> str:
    """The absolute URL of a process."""
    return f"{process.base}{process.resource}/{process.id}"


def socket_url(process: str) -> str:
    """The URL of the WebSocket of a process, from that of the process.

    Its scheme is ws or wss: clients other than the latest browsers take no other (RFC 6455 section 3).
    """
    return f"ws{process.removeprefix('http')}/socket"


def status_word(status: str | None, state: PublicState, policy: ProcessPolicy) -> str:
    """The domain's word: the one that an outcome gave, else the policy's for the state, else the state in capitals."""
    return status or policy.statuses.get(state) or state.upper()


def status_meanings(status: str, promises: Iterable[Promise]) -> tuple[tuple[str, PublicState], ...]:
    """Under which promise, by its digest, which state bears this word, where no outcome gave another one."""
    return tuple(
        (promise.digest, state)
        for promise in promises
        for state in PublicState
        if status_word(None, state, promise.process) == status
    )


def keeps_history(process: Process, now: int) -> bool:
    """Whether the history of a process is surely kept at an instant.

    It goes ``retain_history`` after the end or the lapse of its key, and later where callbacks or a person took longer.
    """
    if process.retain_history is None or process.finished_at is None:
        return True
    return now < retained_from(process, process.finished_at) + process.retain_history


def status_document(
    process: Process, policy: ProcessPolicy, *, may_cancel: bool, history: bool = True, key: bool = True
) -> bytes:
    """The document as JSON.

    Args:
        may_cancel: whether who reads it may cancel; the link is there while the process can be cancelled, too.
        history: whether its history is there to be linked to.
        key: whether it says the client's idempotency key.
    """
    # Written by hand, because a document is built on every poll and a dict handed to json takes three times as long.
    state = process.public_state
    name = _quoted(process.id)
    text = f'{{"id":{name},'
    if policy.id_field is not None:
        text += f"{_quoted(policy.id_field)}:{name},"
    status = status_word(process.status, state, policy)
    text += f'"type":{_quoted(process.type)},"state":"{state}","status":{_quoted(status)}'
    if process.reason is not None:
        text += f',"reason":{_quoted(process.reason)}'
    if process.effect is not None:
        text += f',"effect":"{process.effect}"'
    text += f',"createdAt":"{instant.to_text(process.created_at)}","updatedAt":"{instant.to_text(process.updated_at)}"'
    if process.finished_at is not None:
        text += f',"finishedAt":"{instant.to_text(process.finished_at)}"'
    text += f',"deadlineAt":"{instant.to_text(process.deadline_at)}","correlationId":{_quoted(process.correlation_id)}'
    if key and process.key is not None:
        text += f',"idempotencyKey":{_quoted(process.key)}'
    text += f',"version":{process.version}'
    if process.business_references is not None and policy.public_references is not None:
        text += _references(process.business_references, policy.public_references)
    if process.result_status is not None:
        text += f',"result":{_result(process)}'
    text += f',"links":{_links(process, may_cancel, history)}}}'
    # A lone surrogate becomes the escape by which JSON spells it.
    return text.encode("utf-8", "backslashreplace")


def _references(references: str, public: Collection[str]) -> str:
    """Those that a client is shown."""
    shown = {name: text for name, text in json.loads(references).items() if name in public}
    return f',"references":{json.dumps(shown, ensure_ascii=False)}' if shown else ""


def _result(process: Process) -> str:
    text = f'{{"status":{process.result_status}'
    if process.result_type is not None:
        text += f',"contentType":{_quoted(process.result_type)}'
    if process.result_length is not None:
        text += f',"length":{process.result_length}'
    return text + "}"


def _links(process: Process, may_cancel: bool, history: bool) -> str:
    plain = process_url(process)
    url = _quoted(plain)[:-1]
    told = f'"history":{url}/history",' if history else ""
    cancel = f',"cancel":{url}"' if may_cancel and process.cancellable else ""
    socket = _quoted(socket_url(plain))
    return (
        f'{{"self":{url}","status":{url}/status","result":{url}/result",'
        f'{told}"events":{url}/events","socket":{socket}{cancel}}}'
    )


def history_document(process_id: str, versions: Iterable[Process], policy: ProcessPolicy) -> bytes:
    """Every public change of a process, the first one first, as JSON; ``versions`` is the process after each."""
    changes: list[dict[str, object]] = []
    for version in versions:
        state = version.public_state
        change: dict[str, object] = {
            "version": version.version,
            "changedAt": instant.to_text(version.updated_at),
            "state": state,
            "status": status_word(version.status, state, policy),
        }
        if version.reason is not None:
            change["reason"] = version.reason
        changes.append(change)
    document = {"id": process_id, "history": changes}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
