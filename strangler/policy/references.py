"""Business references: what operators find a process by, taken from its request and its reply."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from strangler.domain.exchange import joined_fields
from strangler.policy.documents import Asked, Read, read_body, reply_values, request_values
from strangler.policy.expressions import REPLY_NAMES, Expression, ExpressionError, number_text
from strangler.policy.measure import Document
from strangler.policy.readable import Unparsable
from strangler.policy.translate import Reply
from strangler.policy.wall import Source

LONGEST = 200
"""Characters of a reference; what is longer is none."""

_BODIES = frozenset({"body", "soap", "@"})


class Sought(NamedTuple):
    """References as they stand in the policy: ``paths`` are those of the route, for ``path.NAME``."""

    expressions: Mapping[str, str]  # by name
    paths: Sequence[str]


class References:
    """The compiled references of one route."""

    def __init__(self, sought: Sought) -> None:
        """Compile.

        Raises:
            ExpressionSyntaxError: something is no expression.
        """
        self.sought = sought
        compiled = {name: Expression(text, REPLY_NAMES) for name, text in sought.expressions.items()}
        self._of_reply = {name: one for name, one in compiled.items() if one.names & {"reply", "@"}}
        self._of_request = {name: one for name, one in compiled.items() if name not in self._of_reply}
        self.asks_reply = bool(self._of_reply)
        """Whether some are only known when there is a reply."""
        self.reads_request = _reads(self._of_request)
        """Whether the body of the request is looked into when it is accepted."""
        self.reads_request_again = _reads(self._of_reply)
        """Likewise, when there is a reply."""

    def of_request(self, asked: Asked) -> dict[str, str]:
        """What a request says; what it does not say, or cannot be read, is absent."""
        return _texts(self._of_request, self._request(asked, reads=self.reads_request))

    def of_reply(self, asked: Asked, reply: Reply) -> dict[str, str]:
        """What a reply says, together with its request."""
        try:
            read = read_body(reply.data or b"", reply.headers, Source())
        except Unparsable:
            read = Read(None)
        document = {
            **self._request(asked, reads=self.reads_request_again),
            "reply": reply_values(reply.status, reply.headers, read),
        }
        return _texts(self._of_reply, document)

    def _request(self, asked: Asked, *, reads: bool) -> dict[str, Any]:
        # A client that does not say what it sends is taken to send JSON, as for a schema, a derived key or a callback.
        source = Source() if b"content-type" in joined_fields(asked.headers) else Source(format="json")
        try:
            read = read_body(asked.data, asked.headers, source) if reads else Read(None)
        except Unparsable:
            read = Read(None)
        return request_values(asked, self.sought.paths, read)


def merged(before: str | None, found: Mapping[str, str]) -> str | None:
    """References as they are kept, JSON: those there were, and those that were found; None: there is none."""
    references = {**(json.loads(before) if before is not None else {}), **found}
    return json.dumps(references, ensure_ascii=False, separators=(",", ":")) if references else None


def _reads(expressions: Mapping[str, Expression]) -> bool:
    return any(one.names & _BODIES for one in expressions.values())


def _texts(expressions: Mapping[str, Expression], document: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    whole = Document.of(document)
    for name, expression in expressions.items():
        try:
            text = _text(expression.evaluate(whole))
        except ExpressionError:
            continue  # nobody is kept from being served for the sake of a search
        if text is not None:
            found[name] = text
    return found


def _text(value: Any) -> str | None:
    """A value as a reference; None: it is none."""
    if isinstance(value, bool | int | float):
        value = number_text(value)
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST or not value.isprintable():
        return None
    return value
