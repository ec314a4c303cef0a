"""``strangler try``: what would be sent, and what a reply would be taken for, without calling anything."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_never

from strangler.config.load import load_policy
from strangler.config.located import nearest
from strangler.config.variables import SecretText
from strangler.domain.errors import OperatorError
from strangler.domain.exchange import Headers, joined_fields
from strangler.domain.outcome import Completed, Failed, InDoubt, Outcome, Pending, Rejected, Retry
from strangler.policy.charset import codec_of, said_charset
from strangler.policy.model import CallPolicy
from strangler.policy.readable import MAX_DOCUMENT
from strangler.runtime.trial import Message, Trial, attempt

_USUAL = Path("policy.yaml")
_MAX_MESSAGE = 2 * MAX_DOCUMENT  # bytes of a file
_REQUEST_LINE = re.compile(r"([A-Z]{1,20}) (/\S*)(?: HTTP/1\.[01])?")
_STATUS_LINE = re.compile(r"(?:HTTP/1\.[01] )?([2-5][0-9]{2})(?: .*)?")


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "try",
        help="show what a route makes of a request and of a reply, without calling anything",
        description="Shows the route that a request falls on, the decision and its reason, the request as it would go "
        "upstream, and with --reply the rule that decides, the status document and what the client would get. Files "
        "hold a message as on the wire: first line, headers, an empty line, body. Exit codes: 0 shown; 1 the request "
        "falls on another route, or would be refused; 2 wrong usage, or a policy that does not load. Credentials, "
        "callbacks, limits and room are not looked at.",
    )
    parser.add_argument("route", metavar="ROUTE", help="the name of the route that is meant")
    parser.add_argument("--request", required=True, type=Path, metavar="FILE", help="a request: POST /claims, …")
    parser.add_argument("--reply", type=Path, metavar="FILE", help="a reply of the upstream: HTTP/1.1 200 OK, …")
    parser.add_argument(
        "--policy",
        action="append",
        type=Path,
        metavar="PATH",
        help="policy files, and folders of them; may be repeated (default: policy.yaml)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Try it. Returns 0, or 1 where the request does not come through to the route.

    Raises:
        OperatorError: a file cannot be read or holds no message, or there is no such route.
    """
    if not arguments.policy and not _USUAL.exists():
        raise OperatorError(f"there is no {_USUAL} here; say where the policy lies: --policy PATH")
    table = load_policy(arguments.policy or [_USUAL], os.environ, public_url=True).table
    if arguments.route not in table.routes:
        raise OperatorError(f"there is no route {arguments.route}; {nearest(arguments.route, table.routes)}")
    request = read_message(arguments.request, _REQUEST_LINE, "a request line such as POST /claims HTTP/1.1")
    reply = None
    if arguments.reply is not None:
        reply = read_message(arguments.reply, _STATUS_LINE, "a status line such as HTTP/1.1 200 OK")
    trial = asyncio.run(attempt(table, request, reply))
    for line in told(trial):
        print(line)
    if trial.route is not None and trial.route.name != arguments.route:
        print(f"the request falls on {trial.route.name}, not on {arguments.route}", file=sys.stderr)
    return 0 if trial.route is not None and trial.route.name == arguments.route and trial.refusal is None else 1


def read_message(path: Path, pattern: re.Pattern[str], expected: str) -> Message:
    """A message from a file, as on the wire; lines may end in a bare LF.

    Raises:
        OperatorError: it cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_MESSAGE + 1)
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > _MAX_MESSAGE:
        raise OperatorError(f"{path} has more than {_MAX_MESSAGE // 2**20} MiB: a body of that size is not looked into")
    ending = re.search(rb"\r?\n\r?\n", data)
    head, body = (data[: ending.start()], data[ending.end() :]) if ending is not None else (data, b"")
    first, *lines = re.split(rb"\r?\n", head.strip(b"\r\n"))
    found = pattern.fullmatch(first.decode("latin-1").strip())
    if found is None:
        raise OperatorError(f"{path}:1: expected {expected}")
    headers = []
    for number, line in enumerate(lines, 2):
        name, colon, value = line.partition(b":")
        if not colon or not name.strip():
            raise OperatorError(f"{path}:{number}: expected a header such as Content-Type: application/json")
        headers.append((name.strip(), value.strip()))
    return Message(" ".join(found.groups()), headers, body)


def told(trial: Trial) -> Iterator[str]:
    """What was found out, as lines to show."""
    if trial.route is None:
        yield f"route     none{f': {trial.refusal}' if trial.refusal else '; the default serves it, if there is one'}"
        return
    yield f"route     {trial.route.name}"
    decision = trial.decision
    if decision is not None:
        wait = f", waits {decision.wait:g} s" if decision.wait else ""
        yield f"decision  {decision.mode}{wait} ({decision.reason})"
    if trial.refusal is not None:
        yield f"refused   {trial.refusal}"
        return
    sent = trial.sent
    if sent is None:
        yield "sent      as it came"
        return
    yield ""
    yield f"sent to {trial.route.upstream.name}"
    yield f"  {sent.method} {_path(sent.target, trial.route.upstream.base_path, trial.route.rewrite.add_prefix)}"
    yield from _message(sent.headers, sent.body.data or b"", _secret(trial.route.call))
    if isinstance(trial.asked, str):
        yield ""
        yield f"in doubt  nobody could ask what it did: {trial.asked}"
    elif trial.asked is not None:
        question = trial.asked.outgoing
        yield ""
        yield f"in doubt  asked of {trial.asked.upstream.name}"
        yield f"  {question.method} {_path(question.target, trial.asked.upstream.base_path)}"
        yield from _message(question.headers, b"", _secret(trial.route.call))
    if trial.outcome is not None:
        yield ""
        yield f"rule      {trial.rule}"
        yield f"outcome   {_said(trial.outcome)}"
    yield ""
    yield "status document"
    for line in json.dumps(json.loads(trial.document), indent=2, ensure_ascii=False).splitlines():
        yield f"  {line}"
    if trial.result is not None:
        yield ""
        yield "result"
        yield f"  {trial.result.status}"
        assert isinstance(trial.result.body, bytes)
        yield from _message(trial.result.headers, trial.result.body)


def _said(outcome: Outcome) -> str:
    """What it came to, in words."""
    match outcome:
        case Completed() | Rejected() | Failed():
            return f"{type(outcome).__name__.lower()}, effect {outcome.effect}"
        case Retry():
            return f"it did nothing ({outcome.reason}): repeated, unless a client still waits; then failed, effect none"
        case Pending():
            return "not yet decided: asked again by `call.follow`"
        case InDoubt():
            return f"in doubt: {outcome.reason}"
        case _:
            assert_never(outcome)


def _secret(call: CallPolicy) -> frozenset[bytes]:
    """The names of headers, in small letters, that are set to what comes from a secret."""
    headers = call.set_headers + (call.probe.set_headers if call.probe is not None else ())
    return frozenset(name.lower().encode() for name, value in headers if isinstance(value, SecretText))


def _path(target: bytes, *prefixes: str) -> str:
    """A target without the secrets that were put before it."""
    shown = target.decode("latin-1")
    for prefix in prefixes:
        if prefix and isinstance(prefix, SecretText):
            shown = shown.replace(prefix, "/(a secret)", 1)
    return shown


def _message(headers: Headers, body: bytes, secret: frozenset[bytes] = frozenset()) -> Iterator[str]:
    for name, value in headers:
        yield f"  {name.decode('latin-1')}: {'a secret' if name.lower() in secret else value.decode('latin-1')}"
    yield ""
    content_type = joined_fields(headers).get(b"content-type", b"").decode("latin-1")
    codec = codec_of(said_charset(content_type) or "utf-8") or "latin-1"
    for line in body.decode(codec, "replace").splitlines():
        yield f"  {line}"
