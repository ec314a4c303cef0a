"""The wall of a route, compiled: requests and replies translated, and what replies mean. Pure: bytes in, bytes out."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from math import ceil
from typing import Any, NamedTuple

from strangler.domain.exchange import Header, Headers
from strangler.domain.outcome import InDoubt, Outcome, Pending, Retry
from strangler.domain.problem import SOURCE
from strangler.policy import wildcard
from strangler.policy.conditions import Rules, Test
from strangler.policy.documents import Asked, Read, read_body, reply_values, request_values
from strangler.policy.expressions import RECORDED_NAMES, REPLY_NAMES, Expression, ExpressionError, Template
from strangler.policy.formula import Compiled, FindHook
from strangler.policy.forwarding import read_by_cgi
from strangler.policy.interpret import rule_of
from strangler.policy.measure import Document
from strangler.policy.readable import Unparsable
from strangler.policy.rendering import Rendering
from strangler.policy.wall import RequestTranslation, ResponseTranslation, Source, Wall

NOT_TRANSLATED = "reply-not-translated"
"""The reason of a process whose reply could not be put into the client's words: it is in doubt."""

REQUEST_NOT_TRANSLATED = "request-not-translated"
"""The reason of a process whose request could not be translated when it was due: nothing was sent."""

_OF_THE_BODY = frozenset(
    {
        b"content-type",
        b"content-length",
        b"content-encoding",
        b"content-md5",
        b"content-digest",
        b"repr-digest",
        b"digest",
        b"etag",
        b"last-modified",
        b"accept-ranges",
        b"soapaction",
    }
)
"""Fields that speak of the body that came, and would lie about the one that is made."""

_REFUSED = 503
"""The status of a refusal that is told without the upstream's words, where a rule of the route made it one."""

_BODILESS = frozenset({204, 205, 304})
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # what no field value may hold: RFC 9110 section 5.5


class Unreadable(ValueError):
    """The client's body is not what it is said to be; the request can never be translated."""


class Untranslatable(ValueError):
    """The client's request is readable, and cannot be translated."""


class Sent(NamedTuple):
    """A translated request; ``target`` has neither the upstream's base path nor the route's rewriting."""

    method: str
    target: bytes
    headers: list[Header]
    data: bytes | None  # None: the body goes as it came


class Translated(NamedTuple):
    """A translated reply."""

    status: int
    headers: list[Header]
    data: bytes | None  # None: the body stays as it came


class Understood(NamedTuple):
    """What a reply comes to."""

    outcome: Outcome
    rule: str
    translated: Translated | None  # None: it stays as it came


class Reply(NamedTuple):
    """A whole reply of the upstream."""

    status: int
    headers: Headers
    data: bytes | None  # None: too large to be looked into


class Interpreter:
    """The compiled wall of one route."""

    def __init__(self, wall: Wall, find: FindHook) -> None:
        """Compile.

        Raises:
            ExpressionSyntaxError: something is no expression, or no template.
            ExpressionError: there is no such function.
        """
        self.wall = self._wall = wall
        self._request = _Request(wall.request, find) if wall.request is not None else None
        self._responses = [_Response(response, find) for response in wall.responses]
        self._rules = Rules(wall.outcome, find)
        names: frozenset[str] = frozenset().union(*(response.names for response in self._responses))
        self._has_reply_hooks = self._rules.has_hooks or any(response.has_hooks for response in self._responses)
        self.needs_request = bool(names & {"body", "soap", "@"}) or self._has_reply_hooks
        """Whether a reply is translated with what stood in the body of the request."""
        self.looks_into_reply = self._rules.looks_at_body or any(each.looks_at_body for each in self._responses)
        """Whether the reply has to come in a form that can be read."""
        self.needs_whole_reply = self.looks_into_reply or any(each.makes_body for each in self._responses)
        """Whether a part of the reply would not do."""
        self.reply_hooks = self._has_reply_hooks
        self.rule_hooks = self._rules.has_hooks
        self.request_hooks = self._request is not None and self._request.has_hooks
        self.translates_request = self._request is not None
        self.translates_reply = bool(self._responses)

    def request(self, asked: Asked) -> Sent:
        """What goes upstream in place of what the client sent.

        Raises:
            Unreadable: the body cannot be read.
            Untranslatable: an expression cannot be evaluated, or its value cannot stand where it is to stand.
        """
        translation = self._request
        assert translation is not None
        return translation.sent(asked, self._wall.paths)

    def reply(self, asked: Asked, reply: Reply, built_in: Outcome, now: int, *, repeats: bool = True) -> Understood:
        """What a whole reply means, and what the client gets of it.

        Args:
            built_in: what it means by the rules behind the last one.
            repeats: what did nothing is sent again; if not, the client gets the reply that says so.
        """
        seen = _Seen(asked, reply, self._wall)
        outcome, rule = self._decided(reply, seen, built_in, now)
        undecided = isinstance(outcome, Pending | InDoubt) or (isinstance(outcome, Retry) and repeats)
        if undecided or not self._responses or reply.data is None:
            return Understood(outcome, rule, None)
        try:
            return Understood(outcome, rule, self._translated(reply, seen))
        except (ExpressionError, Unparsable) as error:
            return _untranslated(reply, outcome, rule, str(error))

    def untranslated(self, asked: Asked, reply: Reply, built_in: Outcome, now: int, why: str) -> Understood:
        """As `reply`, where the translation did not come back."""
        outcome, rule = self._decided(reply, _Seen(asked, reply, self._wall), built_in, now)
        return _untranslated(reply, outcome, rule, why)

    def _decided(self, reply: Reply, seen: _Seen, built_in: Outcome, now: int) -> tuple[Outcome, str]:
        decided = self._rules.decide(reply.status, reply.headers, seen, now)
        return decided if decided is not None else (built_in, rule_of(reply.status))

    def _translated(self, reply: Reply, seen: _Seen) -> Translated | None:
        for response in self._responses:
            if response.when.holds(reply.status, reply.headers, seen):
                return response.translated(reply, seen)
        return None


def stays_inside(outcome: Outcome, wall: Interpreter | None) -> bool:
    """Whether a whole reply that came to an outcome is shown to no client: it is left in the upstream's own words, and
    the route has others for it."""
    return isinstance(outcome, InDoubt) and wall is not None and wall.translates_reply


class _Request:
    def __init__(self, translation: RequestTranslation, find: FindHook) -> None:
        self._policy = translation
        self._content = Rendering(translation.content, find, RECORDED_NAMES) if translation.content.makes else None
        self._path = Template(translation.path, RECORDED_NAMES) if translation.path is not None else None
        self._headers = _header_templates(translation.set_headers, RECORDED_NAMES)
        self.has_hooks = self._content is not None and self._content.has_hooks
        self._set = frozenset(read_by_cgi(name) for name, _ in self._headers)
        makers = (self._content, self._path, *(template for _, template in self._headers))
        self._names: frozenset[str] = frozenset().union(*(each.names for each in makers if each is not None))
        self._looks_at_body = bool(self._names & {"body", "soap", "@"})
        self._of_the_body: list[Header] = []
        if self._content is not None:
            self._of_the_body.append((b"Content-Type", self._content.content_type))
            content = translation.content
            if content.format == "soap" and content.soap_version == "1.1":
                # SOAP 1.1 section 6.1.1: the field has to be there, and is in quotes.
                self._of_the_body.append((b"SOAPAction", f'"{content.soap_action}"'.encode()))

    def sent(self, asked: Asked, paths: Sequence[str]) -> Sent:
        try:
            read = self._read(asked)
        except Unparsable as error:
            raise Unreadable(str(error)) from None
        try:
            values = Document(request_values(asked, paths, read, self._names), parts=[read.document()])
            headers, data = list(asked.headers), None
            if self._set:
                # No field of the client is taken for one that is set.
                headers = [header for header in headers if read_by_cgi(header[0]) not in self._set]
            if self._content is not None:
                data = self._content.body(values)
                headers = [header for header in headers if header[0].lower() not in _OF_THE_BODY] + self._of_the_body
            headers = _changed(headers, self._policy.remove_headers, self._headers, values)
            return Sent(self._policy.method or asked.method, self._target(asked, values), headers, data)
        except ExpressionError as error:
            raise Untranslatable(str(error)) from None

    def _read(self, asked: Asked) -> Read:
        if not self._looks_at_body:
            return Read(None)
        return read_body(asked.data, asked.headers, self._policy.source)

    def _target(self, asked: Asked, values: Document) -> bytes:
        if self._path is None:
            return asked.target
        path = self._path.path(values).encode()
        _, mark, query = asked.target.partition(b"?")
        return path if b"?" in path else path + mark + query


class _Response:
    def __init__(self, translation: ResponseTranslation, find: FindHook) -> None:
        self._policy = translation
        self.when = Test(translation.when, find)
        self._content = Rendering(translation.content, find) if translation.content.makes else None
        self.makes_body = self._content is not None
        self._headers = _header_templates(translation.set_headers, REPLY_NAMES)
        self._status = Expression(translation.status, REPLY_NAMES) if isinstance(translation.status, str) else None
        self.has_hooks = self.when.is_hook or (self._content is not None and self._content.has_hooks)
        names: frozenset[str] = self._content.names if self._content is not None else frozenset()
        for _, template in self._headers:
            names |= template.names
        self.names = names | (self._status.names if self._status is not None else frozenset())
        self.looks_at_body = bool(self.names & {"reply", "@"}) or self.when.looks_at_body

    def translated(self, reply: Reply, seen: _Seen) -> Translated:
        values = seen.values(self.names, with_reply=self.looks_at_body)
        status = self._status_of(reply, values)
        headers, data = list(reply.headers), None
        if self._content is not None:
            headers = [header for header in headers if header[0].lower() not in _OF_THE_BODY]
            if seen.asked.method == "HEAD" or status in _BODILESS:
                data = b""
            else:
                data = self._content.body(values)
                headers.append((b"Content-Type", self._content.content_type))
        return Translated(status, _changed(headers, self._policy.remove_headers, self._headers, values), data)

    def _status_of(self, reply: Reply, values: Document) -> int:
        if self._status is None:
            status: Any = self._policy.status
            return reply.status if status is None else int(status)
        found = self._status.evaluate(values)
        if not isinstance(found, int) or not 200 <= found <= 599:
            raise ExpressionError(f"{self._status.text[:100]} is no status from 200 to 599")
        return found


class _Seen:
    """A request and its reply while a formula looks at them; what is read is read once."""

    def __init__(self, asked: Asked, reply: Reply, wall: Wall) -> None:
        self.asked = asked
        self._reply = reply
        self._wall = wall
        self._read: tuple[Read, Document] | Unparsable | None = None

    def over_body(self, formula: Compiled) -> object:
        if formula.is_hook:
            return formula.value(self.values(formula.names, with_reply=True))
        return formula.value(self._reply_read()[1])

    def values(self, names: frozenset[str], *, with_reply: bool) -> Document:
        """The document, with the bodies only where they are looked at; ``names``: by which it is entered."""
        source = self._wall.request.source if self._wall.request is not None else Source()
        looks = names & {"body", "soap", "@"}
        read = read_body(self.asked.data, self.asked.headers, source) if looks else Read(None)
        replied, body = self._reply_read() if with_reply else (Read(None), Document(None))
        values = request_values(self.asked, self._wall.paths, read, names)
        values["reply"] = reply_values(self._reply.status, self._reply.headers, replied, names)
        return Document(values, parts=[read.document(), body])

    def _reply_read(self) -> tuple[Read, Document]:
        if self._read is None:
            try:
                if self._reply.data is None:
                    raise Unparsable("it is too large to be looked into")
                read = read_body(self._reply.data, self._reply.headers, self._wall.reply_source)
                self._read = read, read.document()
            except Unparsable as error:
                self._read = error
        if isinstance(self._read, Unparsable):
            raise self._read
        return self._read


def _untranslated(reply: Reply, outcome: Outcome, rule: str, why: str) -> Understood:
    """What a reply comes to that cannot be put into the client's words: none of the upstream's reach the client."""
    told = f"{rule}; translate.response failed: {why}"
    if not isinstance(outcome, Retry):
        # The reply is not what the policy takes it for, so what the rules made of it is in question too.
        return Understood(InDoubt(NOT_TRANSLATED), told, None)
    # It did nothing, whatever its reply looks like. A status below 400 would say that it did.
    status = reply.status if reply.status >= 400 else _REFUSED
    headers = [SOURCE]
    if outcome.after is not None:
        headers.append((b"Retry-After", b"%d" % ceil(outcome.after)))
    return Understood(outcome, told, Translated(status, headers, b""))


def _header_templates(headers: Sequence[tuple[str, str]], names: frozenset[str]) -> list[tuple[bytes, Template]]:
    return [(name.encode(), Template(text, names)) for name, text in headers]


def _changed(
    headers: list[Header],
    remove: Collection[str],
    templates: Sequence[tuple[bytes, Template]],
    values: Document,
) -> list[Header]:
    """The headers without those that fit a term of ``remove``, and with those that are set; an empty one is not.

    Names that CGI and WSGI cannot tell apart are the same for ``remove``.
    """
    kept = headers
    if remove:
        terms = [term.replace("_", "-") for term in remove]
        kept = [
            header
            for header in headers
            if header[0].lower() == b"host"  # without which there is no request, whatever fits it
            or not any(wildcard.fits(term, read_by_cgi(header[0]).decode("latin-1")) for term in terms)
        ]
    for name, template in templates:
        text = template.text(values)
        if _CONTROL.search(text):
            raise ExpressionError(f"the value of {name.decode()} breaks the line, or has a control character in it")
        kept = [header for header in kept if header[0].lower() != name.lower()]
        if text:
            kept.append((name, text.encode("utf-8", "backslashreplace")))
    return kept
