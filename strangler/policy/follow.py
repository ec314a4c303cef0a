"""Following what the upstream took and decides later: where it is asked, when, and what its answers mean.

Two conventions are known without being told. *Location*: 202 is "not yet", 303 says where the result lies, any other
answer is the result (RFC 9110 sections 15.3.3 and 15.4.4; OData 4.01 part 1 section 11.6; this proxy's own processes).
*Operation-Location* and *Azure-AsyncOperation*: the answer is a document whose ``status`` tells how far it is
(Microsoft REST API guidelines, "Long-running operations"; Azure Resource Manager RPC, "Asynchronous operations"). In
both, a success with a ``Retry-After`` is "not yet": an answer that is the last one has nothing to come back for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from strangler.domain.exchange import Headers, field_texts, joined_field, joined_fields
from strangler.domain.outcome import Failed
from strangler.domain.process import Effect
from strangler.domain.retry import parse_retry_after
from strangler.policy.expressions import ExpressionError
from strangler.policy.model import FollowPolicy
from strangler.policy.readable import whole_text

NOWHERE = "follow-nowhere"
"""The upstream took it and does not say where it can be asked, or names a place that is not its own."""

FOLLOW_OVER = "follow-over"
FOLLOW_REFUSED = "follow-refused"
CONDITION_FAILED = "follow-condition-failed"
OPERATION_FAILED = "operation-failed"

TEMPLATE_NAMES = frozenset({"reply", "process"})
"""What an expression in `call.follow.url` can begin with."""

MONITORS = frozenset({"operation-location", "azure-asyncoperation"})
"""Headers that name a document with a ``status``, rather than the result to be."""

MAX_TARGET = 4096
_LEAST_WAIT = 0.2  # seconds
_PATIENCE = 100  # an answer comes late by a hundredth of the time it took; the history stays short
_UNTOLD = frozenset({401, 403, 407, 410})
_FAILED = frozenset({"failed", "canceled", "cancelled"})
_REASON_LENGTH = 200


class Look(NamedTuple):
    """What the upstream answered when it was asked."""

    status: int
    headers: Headers
    document: Any = None  # the value of a JSON body; None: there is none

    def field(self, name: str) -> bytes | None:
        """A header field by its lower-case name."""
        return joined_field(self.headers, name.encode())


class NotYet(NamedTuple):
    """It has not decided."""

    after: float | None = None  # seconds; its Retry-After
    target: str | None = None  # where it is asked from now on; None: as before


class Elsewhere(NamedTuple):
    """It is to be asked at another place, at once."""

    target: str
    result: bool  # what lies there is the result


class Decided(NamedTuple):
    """This is its last answer, to be interpreted as a reply is."""

    failed: Failed | None = None  # what it says of itself, where no outcome rule says otherwise


class Untold(NamedTuple):
    """It does not tell any more."""

    reason: str


Judgement = NotYet | Elsewhere | Decided | Untold


def takes_time(follow: FollowPolicy, status: int, headers: Headers) -> bool:
    """Whether a reply says that the work goes on: 202, or a success that names a monitor (Azure's PUT answers 201)."""
    if status == 202:
        return True
    return 200 <= status < 300 and follow.header in MONITORS and follow.header.encode() in joined_fields(headers)


def whereto(
    follow: FollowPolicy, reply: Look, process: Mapping[str, Any], asked: bytes, authorities: Collection[str]
) -> str | None:
    """The request target at which the upstream is asked; None: nobody can tell.

    Args:
        process: what is known of the process, for the template.
        asked: the target of the request that was answered; what is relative is relative to it.
        authorities: the names under which the upstream may speak of itself, lower case. It is asked where it always is:
            of an absolute URL only path and query are used.
    """
    if follow.template is not None:
        reply_values = {
            "status": reply.status,
            "headers": field_texts(joined_fields(reply.headers)),
            "body": reply.document,
        }
        try:
            target = follow.template.path({"reply": reply_values, "process": dict(process)})
        except ExpressionError:
            return None
        return target if is_target(target) else None
    value = reply.field(follow.header) if follow.header is not None else None
    return own_target(value, asked, authorities) if value is not None else None


def own_target(value: bytes, asked: bytes, authorities: Collection[str]) -> str | None:
    """The request target that a URL names; None: it is none of the upstream's own."""
    try:
        parts = urlsplit(urljoin(f"http://upstream{asked.decode('latin-1')}", value.decode("latin-1").strip()))
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or parts.netloc.lower() not in {"upstream", *authorities}:
        return None
    target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    return target if is_target(target) else None


def is_target(text: str) -> bool:
    """Whether a text can stand as a request target: a path, with a query perhaps, in plain ASCII."""
    return text.startswith("/") and len(text) <= MAX_TARGET and all("!" <= letter <= "~" for letter in text)


def is_down(status: int) -> bool:
    """Whether an answer says that the upstream could not be asked."""
    return status == 429 or status >= 500


def judge(
    follow: FollowPolicy,
    look: Look,
    asked: str,
    authorities: Collection[str],
    now: int,
    *,
    result: bool,
    done: bool | None = None,
) -> Judgement:
    """What an answer of the upstream says.

    Args:
        asked: the target that was asked.
        result: it is the place where the upstream said that the result lies.
        done: what `call.follow.done` says of the answer; None: there is no such condition.
    """
    status = look.status
    if done:
        return Decided()
    after = parse_retry_after(look.field("retry-after"), now)
    if is_down(status):
        return NotYet(after)
    if status in _UNTOLD or (status == 404 and not result and done is None):
        return Untold(FOLLOW_REFUSED)
    if status in (301, 302, 303, 307, 308):
        place = own_target(look.field("location") or b"", asked.encode(), authorities)
        if place is None or place == asked:
            return Untold(NOWHERE)
        return Elsewhere(place, result or status == 303)
    if result:
        return NotYet(after) if status == 202 else Decided()
    if status == 202 or done is False or (200 <= status < 300 and after is not None):
        moved = look.field(follow.header) if follow.header is not None else None
        return NotYet(after, own_target(moved, asked.encode(), authorities) if moved is not None else None)
    if follow.header in MONITORS and 200 <= status < 300:
        return _monitored(look.document, asked, authorities)
    return Decided()


def _monitored(document: Any, asked: str, authorities: Collection[str]) -> Judgement:
    """What a status monitor says. Any word but the final ones means that it goes on."""
    word = document.get("status") if isinstance(document, Mapping) else None
    if not isinstance(word, str):
        return Decided()  # no monitor after all: the answer itself is the result
    if word.lower() in _FAILED:
        return Decided(Failed(_failure(document), Effect.UNKNOWN))
    if word.lower() != "succeeded":
        return NotYet()
    place = document.get("resourceLocation")
    target = own_target(whole_text(place).encode(), asked.encode(), authorities) if isinstance(place, str) else None
    return Elsewhere(target, result=True) if target is not None else Decided()


def _failure(document: Mapping[str, Any]) -> str:
    error = document.get("error")
    code = error.get("code") if isinstance(error, Mapping) else None
    return whole_text(code[:_REASON_LENGTH]) if isinstance(code, str) and code else OPERATION_FAILED


def next_look(follow: FollowPolicy, begun: int, now: int, until: int, after: float | None) -> int:
    """When the upstream is asked next: after what it wishes, else after `every`; rarer the longer it has taken.

    Args:
        until: when it is too late, which is still to come. All instants are by the clock of the process, which stands
            still while calls are paused.
    """
    wait = max(_LEAST_WAIT, follow.every if after is None else after, (now - begun) / 1000 / _PATIENCE)
    return min(now + round(wait * 1000), until)
