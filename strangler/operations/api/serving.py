"""The frame of every endpoint: who asks, what is asked, the audit log around a change, and the answer as HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from aiohttp import web
from jsonschema import Draft202012Validator, ValidationError

from strangler.domain.errors import StoreUnavailable
from strangler.domain.exchange import Answer, Header
from strangler.domain.problem import problem
from strangler.operations.api.admission import admit
from strangler.operations.api.endpoint import Asked, Done, Endpoint, Refusal, Role, Stream, Text, Told
from strangler.operations.api.schemas import LINE
from strangler.operations.api.tokens import Tokens
from strangler.policy.readable import Unparsable, parse_json
from strangler.ports import Audit, Command

MAX_BODY = 16 * 1024
BODY_TIMEOUT = 10.0  # seconds for all of it
_MOST_PARAMETERS = 50
_MOST_ERRORS = 20
_CHALLENGE: Header = (b"WWW-Authenticate", b'Bearer realm="strangler operations"')


class Backing(NamedTuple):
    """What the frame stands on."""

    tokens: Tokens
    audit: Audit
    now: Callable[[], int]  # milliseconds since the epoch
    failed: Callable[[str, BaseException], None] = lambda place, error: None  # told of what broke in the middle
    barred: Callable[[str, str], None] = lambda command, code: None  # told of a change that somebody may not make


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.name)
        self.refusal = refusal


Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


def served(endpoint: Endpoint, backing: Backing) -> Serve:
    """The handler of an endpoint."""
    validator = Draft202012Validator(endpoint.body_schema()) if endpoint.takes_body else None
    return partial(_serve, endpoint, validator, backing)


async def _serve(
    endpoint: Endpoint, validator: Draft202012Validator | None, backing: Backing, request: web.Request
) -> web.StreamResponse:
    try:
        who = admit(endpoint, request, backing.tokens)
        if isinstance(who, Refusal):
            if endpoint.changes:
                backing.barred(endpoint.name, who.name)
            raise _Refused(who)
        body = await _body(request, validator) if validator is not None else {}
        asked = Asked(request.match_info, _query(request, endpoint), body, who)
        # What is streamed may still fail, up to its first piece.
        return await _answered(await _told(endpoint, asked, backing, request), request, backing)
    except _Refused as refused:
        refusal = refused.refusal
    except StoreUnavailable as error:
        refusal = Refusal("store-unavailable", f"the store does not work right now: {error}")
    return await _answered(refusal, request, backing)


# ── What is asked ────────────────────────────────────────────────────────────────────────────────────────────────────


def _query(request: web.Request, endpoint: Endpoint) -> dict[str, Any]:
    if endpoint.role is Role.ANYONE:
        return {}  # probes and scrapers add what is their own, and are to be told how things stand all the same
    known = {parameter.name: parameter for parameter in endpoint.parameters}
    try:
        pairs = parse_qsl(
            request.rel_url.raw_query_string,
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError:
        raise _Refused(Refusal("bad-request", "the query is not well formed")) from None
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in known:
            names = ", ".join(known) or "none"
            raise _Refused(Refusal("bad-request", f"{name[:100]!r} is no parameter here; known are: {names}"))
        if name in found:
            raise _Refused(Refusal("bad-request", f"{name} is given twice"))
        try:
            found[name] = known[name].read(value)
        except ValueError as error:
            raise _Refused(Refusal("bad-request", f"{name}: {error}")) from None
    for parameter in endpoint.parameters:
        if parameter.required and parameter.name not in found:
            raise _Refused(Refusal("bad-request", f"{parameter.name} is required: {parameter.about}"))
    return found


async def _body(request: web.Request, validator: Draft202012Validator) -> Mapping[str, Any]:
    try:
        # Of a body whose chunks turn bad in the middle aiohttp tells neither more nor an end.
        async with asyncio.timeout(BODY_TIMEOUT):
            data = await request.content.read(MAX_BODY + 1)
            while data and len(data) <= MAX_BODY and (more := await request.content.read(MAX_BODY + 1)):
                data += more
    except ConnectionError:  # nobody reads this answer
        raise _Refused(Refusal("bad-request", "the body broke off")) from None
    except TimeoutError:
        raise _Refused(Refusal("request-timeout", f"the body was not all there within {BODY_TIMEOUT:g} s")) from None
    if len(data) > MAX_BODY:
        raise _Refused(Refusal("body-too-large", f"at most {MAX_BODY} bytes are taken"))
    try:
        found = parse_json(data)
        json.dumps(found, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except Unparsable as error:
        raise _Refused(Refusal("bad-request", f"expected a JSON object as the body: {error}")) from None
    except ValueError:
        raise _Refused(Refusal("bad-request", "expected a JSON object as the body")) from None
    errors = [
        {"pointer": "".join(f"/{part}" for part in error.absolute_path), "detail": _wrong(error)}
        for error in sorted(validator.iter_errors(found), key=lambda error: [str(part) for part in error.absolute_path])
    ]
    if errors:
        first = errors[0]
        where = first["pointer"] or "the body"
        raise _Refused(Refusal("bad-request", f"{where}: {first['detail']}", errors[:_MOST_ERRORS]))
    assert isinstance(found, Mapping)
    return found


def _wrong(error: ValidationError) -> str:
    if error.validator == "pattern" and error.validator_value == LINE["pattern"]:
        return "expected text on one line"
    return error.message[:500]


# ── What is done ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def _told(endpoint: Endpoint, asked: Asked, backing: Backing, request: web.Request) -> Told:
    """Do it; a change is on record before it is begun, and so is what it came to when it is answered."""
    if not endpoint.changes or not endpoint.audited:
        return await endpoint.handle(asked)
    command = Command(
        backing.now(),
        asked.who,
        endpoint.name,
        request.rel_url.raw_path,
        asked.body.get("why"),
        await endpoint.about_process(asked),
        _given(endpoint, asked),
    )
    number = await _begun(command, endpoint, backing)
    outcome, detail = "internal-error", None
    try:
        told = await endpoint.handle(asked)
        outcome, detail = _outcome(told)
        return told
    except StoreUnavailable as error:
        outcome, detail = "store-unavailable", str(error)
        raise
    finally:
        try:
            if number is not None:
                await backing.audit.end_command(number, backing.now(), outcome, detail)
        except StoreUnavailable as error:
            # What was done is done; its beginning is on record, and the log says the rest.
            backing.failed(f"the end of command {number} ({outcome})", error)


def _given(endpoint: Endpoint, asked: Asked) -> str | None:
    """What a command is given beside its reason, for the audit log."""
    apart = ("why", *endpoint.kept_apart)
    given = {name: value for name, value in asked.body.items() if name not in apart}
    return json.dumps(given, ensure_ascii=False, separators=(",", ":")) if given else None


async def _begun(command: Command, endpoint: Endpoint, backing: Backing) -> int | None:
    """The number of a command on record; None: it is done without, because that is what is wanted most in such need.

    Raises:
        StoreUnavailable: it cannot be recorded, and so is not done.
    """
    try:
        return await backing.audit.begin_command(command)
    except StoreUnavailable as error:
        if endpoint.needs_record:
            raise
        backing.failed(f"the record of {command.what} by {command.who}", error)
        return None


def _outcome(told: Told) -> tuple[str, str | None]:
    """What the audit log says of it."""
    match told:
        case Refusal(name, detail):
            return name, detail
        case Done(_, _, note):
            return "done", note
    return "done", None


# ── The answer ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def _answered(told: Told, request: web.Request, backing: Backing) -> web.StreamResponse:
    match told:
        case Done(document, status, _):
            text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
            data = text.encode("utf-8", "backslashreplace")
            headers = {"Cache-Control": "no-store", "Content-Type": "application/json"}
            return web.Response(status=status, body=data, headers=headers)
        case Text(media_type, data):
            return web.Response(body=data, headers={"Content-Type": media_type, "Cache-Control": "no-store"})
        case Stream(media_type, pieces):
            return await _streamed(media_type, pieces, request, backing)
        case Refusal(name, detail, errors):
            headers_of = [_CHALLENGE] if name == "unauthenticated" else []
            return problem_response(name, detail, instance=request.rel_url.raw_path, headers=headers_of, errors=errors)


async def _streamed(
    media_type: str, pieces: AsyncIterator[bytes], request: web.Request, backing: Backing
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": media_type, "Cache-Control": "no-store"})
    # The first piece is there before the head goes, so that what cannot begin is refused in order.
    first = await anext(pieces, b"")
    try:
        await response.prepare(request)
        await response.write(first)
        async for piece in pieces:
            await response.write(piece)
    except ConnectionError:
        return response  # whoever asked has left
    except Exception as error:
        # The head is out; a connection that breaks is the only way left to say that something is missing.
        backing.failed("operations", error)
        if request.transport is not None:
            request.transport.abort()
        return response
    await response.write_eof()
    return response


def problem_response(
    name: str,
    detail: str,
    *,
    instance: str | None = None,
    headers: Sequence[Header] = (),
    errors: Sequence[dict[str, str]] = (),
) -> web.StreamResponse:
    """A problem document."""
    answer: Answer = problem(name, detail, instance=instance, headers=headers, errors=errors)
    assert isinstance(answer.body, bytes)
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
    return web.Response(status=answer.status, headers=fields, body=answer.body)
