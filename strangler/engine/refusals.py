"""Refusing a submission, or only saying so where its route reports."""

from __future__ import annotations

from collections.abc import Sequence

from strangler.domain.idempotency import KeySyntaxError
from strangler.engine.content import JsonBody, Schemas, Violation
from strangler.engine.instrument import Instrument
from strangler.engine.keys import given_key
from strangler.engine.submission import Acceptance, Pass, Refused, Submission
from strangler.policy.model import Route
from strangler.policy.readable import Unparsable

UNCLEAR = Refused("ambiguous-target", "the path holds a % that encodes nothing, or an encoded NUL")
"""What a request on a recorded route gets whose path can be read in two ways (`policy.target.clear`)."""


class Stop(Exception):
    """The checks came to a verdict."""

    def __init__(self, verdict: Acceptance) -> None:
        super().__init__(verdict)
        self.verdict = verdict


class TooLong(Stop):
    """The body is longer than its route records, and passes through."""

    def __init__(self, read: Sequence[bytes]) -> None:
        super().__init__(Pass(tuple(read)))
        self.read = read


def _in_range(media_type: str, ranges: Sequence[str]) -> bool:
    """Whether a media type is of one of the ranges (RFC 9110 section 12.5.1)."""
    kind, slash, _ = media_type.partition("/")
    return bool(slash) and ("*/*" in ranges or f"{kind}/*" in ranges)


class Refusals:
    """What is checked of a submission by itself, and what becomes of what is refused."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._schemas = Schemas()

    def check_head(self, submission: Submission) -> None:
        """What can be judged before the body: its length, its type, required headers.

        Raises:
            Stop: it is refused.
        """
        route, request = submission.route, submission.request
        accept = route.accept
        if request.content_length is not None and request.content_length > accept.max_body:
            self.too_large(route, None)
        if accept.content_types and request.has_body:
            given = (request.field(b"content-type") or b"").partition(b";")[0].strip().lower().decode("latin-1")
            if given not in accept.content_types and not _in_range(given, accept.content_types):
                expected = ", ".join(accept.content_types)
                self.refuse(route, "unsupported-media-type", f"{given or 'no type'} was sent; taken are: {expected}")
        for name in accept.require_headers:
            if not request.field(name.lower().encode()):
                self.refuse(route, "header-required", f"the header {name} is required")

    def check_key(self, submission: Submission) -> str | None:
        """The client's own idempotency key.

        Raises:
            Stop: it is none, or lacks where it is required.
        """
        route, policy = submission.route, submission.route.accept.idempotency
        try:
            given = given_key(submission.request, policy)
        except KeySyntaxError as error:
            self.refuse(route, "idempotency-key-invalid", str(error))
            given = None  # the route only reports: a key that is none counts as missing
        if given is None and policy.required:
            self.refuse(route, "idempotency-key-missing", f"the header {policy.headers[0]} is required")
        return given

    async def check_body(self, route: Route, content: JsonBody) -> None:
        """The body against the schema of the route, where it has one.

        Raises:
            Stop: it does not match.
        """
        schema = route.accept.schema
        if schema is None:
            return
        try:
            violations = await self._schemas.violations(route.name, schema, content)
        except Unparsable as error:
            self.refuse(route, "bad-request", f"the body is not readable JSON: {error}")
        else:
            if violations:
                self.refuse(route, "invalid-request", sentence(violations), violations)

    def too_large(self, route: Route, pieces: Sequence[bytes] | None) -> None:
        """The body is; ``pieces`` of it were read.

        Raises:
            Stop: always.
        """
        if route.accept.over_max_body == "passthrough":
            raise TooLong(pieces or ())
        if route.accept.enforce == "report":
            # It cannot be recorded, and nothing is to be refused: it goes through.
            self._instrument.would_refuse(route.name, "body-too-large", "")
            raise TooLong(pieces or ())
        raise Stop(Refused("body-too-large", f"at most {route.accept.max_body} bytes are taken"))

    def refuse(self, route: Route, name: str, detail: str, violations: Sequence[Violation] = ()) -> None:
        """Refuse, or only say so where the route reports.

        Raises:
            Stop: it is refused.
        """
        if route.accept.enforce == "report":
            self._instrument.would_refuse(route.name, name, detail)
            return
        raise Stop(Refused(name, detail, violations=violations))


def sentence(violations: Sequence[Violation]) -> str:
    """Where a body does not match, in words."""
    first = violations[0]
    where = first.pointer or "the body"
    more = f", and {len(violations) - 1} more" if len(violations) > 1 else ""
    return f"{where}: {first.detail}{more}"
