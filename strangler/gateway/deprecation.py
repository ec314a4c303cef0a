"""What clients that still wait synchronously are told of it (RFC 9745, RFC 8594)."""

from __future__ import annotations

from strangler.domain.exchange import Answer, Header
from strangler.engine.submission import Submission
from strangler.policy.model import Deprecation

_ITEMS = frozenset({b"deprecation", b"sunset"})


def note_deprecation(answer: Answer, submission: Submission) -> None:
    """Also on a refusal: who is told 202 by no means has to learn it from every answer."""
    deprecation = submission.route.deprecation
    if deprecation is None or submission.decision.accepts_202:
        return
    ours = deprecation_headers(deprecation)
    # Each is a single item: with one of the legacy system's beside ours neither could be read.
    anew = _ITEMS.intersection(name.lower() for name, _ in ours)
    answer.headers[:] = [header for header in answer.headers if header[0].lower() not in anew] + ours


def deprecation_headers(deprecation: Deprecation) -> list[Header]:
    """The fields for a route."""
    headers: list[Header] = []
    if deprecation.since is not None:
        headers.append((b"Deprecation", deprecation.since.encode()))
    if deprecation.sunset is not None:
        headers.append((b"Sunset", deprecation.sunset.encode()))
    if deprecation.link is not None:
        headers.append((b"Link", b'<%b>; rel="deprecation"' % deprecation.link.encode()))
    return headers
