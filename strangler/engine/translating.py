"""The wall of a route at work: a recorded request translated for one attempt, and its reply understood."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import CHUNK_SIZE, Attempt, Body, Header, Headers, RecordedRequest
from strangler.domain.outcome import InDoubt, Outcome
from strangler.domain.process import Process
from strangler.engine.aside import TookTooLong, beside
from strangler.engine.document import process_url
from strangler.engine.intake import whole_body
from strangler.engine.means import Means
from strangler.engine.recorder import Recorder
from strangler.policy.conditions import RULE_FAILED
from strangler.policy.documents import Asked, weight
from strangler.policy.model import CallPolicy
from strangler.policy.translate import Interpreter, Reply, Sent, Understood, Untranslatable
from strangler.ports import Bodies, Commit, Evidence

_SECRET = frozenset({b"authorization", b"proxy-authorization", b"cookie"})
_PART = frozenset({b"range", b"if-range"})


class Ready(NamedTuple):
    """What an attempt on a route with a wall sends, and what its reply is understood by."""

    request: RecordedRequest
    asked: Asked


async def prepared(
    bodies: Bodies, interpreter: Interpreter, process: Process, recorded: RecordedRequest, call: CallPolicy
) -> Ready:
    """The request of an attempt, translated where the route translates it; the recorded one stays the client's.

    Raises:
        Unreadable, Untranslatable: it cannot be translated; nothing was sent.
    """
    headers = recorded.all_headers() if call.credentials == "forward" else list(recorded.headers)
    asked = await asked_by(bodies, interpreter, process, recorded, headers)
    method, target, body = recorded.method, recorded.target, recorded.body
    if interpreter.translates_request:
        sent = await translated(interpreter, asked)
        method, target, headers = sent.method, sent.target, sent.headers
        if sent.data is not None:
            body = Body(len(sent.data), b"", sent.data)  # it is not stored as a body, so nobody asks for its digest
    if interpreter.needs_whole_reply:
        headers = _for_the_whole(headers)
    if interpreter.looks_into_reply:
        # A reply that is looked into has to come in plain bytes.
        headers = [header for header in headers if header[0].lower() != b"accept-encoding"]
        headers.append((b"Accept-Encoding", b"identity"))
    return Ready(RecordedRequest(method, target, headers, (), body), asked)


def _for_the_whole(headers: list[Header]) -> list[Header]:
    """Without the wish for some bytes of the reply (RFC 9110 section 14.2), which are no document: a translation
    would make something else of them. What an upstream counts in units of its own, as ``items``, is one."""
    if any(name.lower() == b"range" and value.lstrip().lower().startswith(b"bytes") for name, value in headers):
        return [header for header in headers if header[0].lower() not in _PART]
    return headers


async def asked_by(
    bodies: Bodies, interpreter: Interpreter, process: Process, recorded: RecordedRequest, headers: Headers
) -> Asked:
    """A recorded request as expressions see it, with these headers, and with its body where they look at it."""
    looks = interpreter.translates_request or interpreter.needs_request
    data = await whole_body(recorded.body, bodies, process.id) if looks else b""
    return Asked(recorded.method, recorded.target, headers, data, process.caller_name, process_values(process))


async def translated(interpreter: Interpreter, asked: Asked) -> Sent:
    """A request as it goes upstream.

    Raises:
        Unreadable, Untranslatable: it cannot be translated.
    """
    try:
        size = weight(len(asked.data), asked.headers)
        return await beside(partial(interpreter.request, asked), size, hooks=interpreter.request_hooks)
    except TookTooLong as error:
        raise Untranslatable(str(error)) from None


async def understood(
    interpreter: Interpreter, asked: Asked, recorder: Recorder, built_in: Outcome, now: int, *, repeats: bool = True
) -> Understood:
    """What a whole reply means; where the route translates it, the recorder holds the translated one from then on.

    ``built_in`` and ``repeats`` as in `Interpreter.reply`.
    """
    data = await recorder.whole() if interpreter.looks_into_reply or interpreter.translates_reply else b""
    reply = Reply(recorder.status, recorder.headers, data)
    work = partial(interpreter.reply, asked, reply, built_in, now, repeats=repeats)
    size = weight(len(data or b""), recorder.headers)
    if interpreter.needs_request:
        size += weight(len(asked.data), asked.headers)
    try:
        found = await beside(work, size, hooks=interpreter.reply_hooks)
    except TookTooLong as error:
        if interpreter.rule_hooks:
            return Understood(InDoubt(RULE_FAILED), str(error), None)
        work = partial(interpreter.untranslated, asked, reply, built_in, now, str(error))
        found = await beside(work, size, hooks=False)
    if found.translated is not None:
        await recorder.put_in_place(*found.translated)
    return found


def evidence_of_sent(attempt: Attempt, original: RecordedRequest, sent: RecordedRequest, now: int) -> Evidence:
    """What the first attempt sends, without credentials."""
    secret = _SECRET.union(name.lower() for _, name, _ in original.credentials) if original.credentials else _SECRET
    body = sent.body.data if sent.body.data is not None else b""
    headers: list[Header] = [(b":method", sent.method.encode()), (b":target", sent.target)]
    headers += [header for header in sent.headers if header[0].lower() not in secret]
    return Evidence(attempt.process_id, attempt.number, "sent", now, None, headers, body[:CHUNK_SIZE])


async def keep_sent(means: Means, attempt: Attempt, original: RecordedRequest, sent: RecordedRequest) -> None:
    """Record what the first attempt sends, where it was not recorded with the claim. It says what was done, and decides
    nothing: where the store cannot, the call goes on."""
    evidence = evidence_of_sent(attempt, original, sent, means.clock.now())
    try:
        await means.store.commit(Commit(None, evidence=evidence))
    except StoreUnavailable as error:
        means.instrument.note("sent_not_kept", "warning", process=attempt.process_id, reason=str(error))
    except Exception as error:
        means.instrument.failed("sent", error)  # a defect of ours; nobody may wait for this any more


def process_values(process: Process) -> dict[str, str]:
    """A process as expressions see it."""
    values = {
        "id": process.id,
        "type": process.type,
        "correlationId": process.correlation_id,
        "url": process_url(process),
    }
    if process.key is not None:
        values["idempotencyKey"] = process.key
    return values
