"""Recorded requests, replies and evidence as operators are shown them: without credentials and what is redacted."""

from __future__ import annotations

import codecs
from base64 import b64encode
from collections.abc import Sequence
from functools import reduce
from typing import Any
from urllib.parse import unquote_plus

from strangler.domain import instant
from strangler.domain.exchange import Body, Headers, RecordedReply, RecordedRequest
from strangler.domain.process import Process
from strangler.domain.replies import attempt_of
from strangler.operations.api.schemas import COUNT, INSTANT, NUMBER, TEXT, TRUTH, a_list, an_object, one_of
from strangler.policy.model import Promise, Redaction
from strangler.policy.redaction import HIDDEN, shown_body, shown_headers
from strangler.ports import Evidence

FIRST_BYTES = 16 * 1024
"""Of a body, so many are shown."""

_BODY = an_object(
    {"size": COUNT, "sha256": TEXT, "kept": TRUTH},
    {"text": TEXT, "base64": TEXT, "truncated": TRUTH, "hidden": TRUTH},
)
_HEADERS = a_list(an_object({"name": TEXT, "value": TEXT}))
_CREDENTIALS = ("kept", "gone", "none", "unknown")
REQUEST = an_object(
    {"method": TEXT, "target": TEXT, "headers": _HEADERS, "body": _BODY, "credentials": one_of(_CREDENTIALS)}
)
REPLY = an_object({"attempt": NUMBER, "status": NUMBER, "headers": _HEADERS, "body": _BODY}, {"reasonPhrase": TEXT})
EVIDENCE = an_object(
    {"attempt": NUMBER, "source": TEXT, "at": INSTANT, "headers": _HEADERS, "body": _BODY}, {"status": NUMBER}
)


class Shown:
    """What may be shown of what a route recorded: under what was promised, and what its policy says today."""

    def __init__(self, promises: Sequence[Promise]) -> None:
        self._redaction = reduce(Redaction.and_also, (promise.redact for promise in promises), Redaction())
        # Without a promise nobody can say what is not to be seen.
        self._blind = not promises
        self._parameters = {
            source[6:] for promise in promises for source in promise.access.identity if source.startswith("query:")
        }

    def request(self, process: Process, recorded: RecordedRequest, data: bytes, sealed: bool) -> dict[str, Any]:
        """The recorded request of a process; ``data`` is the first bytes of its body."""
        return {
            "method": recorded.method,
            "target": self._target(recorded.target),
            "headers": self._headers(recorded.headers),
            "body": self._body(recorded.body, data, recorded.headers),
            "credentials": _credentials(process, sealed),
        }

    def reply(self, number: int, recorded: RecordedReply, data: bytes) -> dict[str, Any]:
        """A recorded reply."""
        shown = {
            "attempt": attempt_of(number),
            "status": recorded.status,
            "headers": self._headers(recorded.headers),
            "body": self._body(recorded.body, data, recorded.headers),
        }
        phrase = recorded.reason.decode("latin-1")
        return {**shown, "reasonPhrase": phrase} if phrase else shown

    def evidence(self, one: Evidence) -> dict[str, Any]:
        """What says what an attempt did."""
        headers = self._headers(one.headers)
        for header in headers:
            if header["name"] == ":target":
                header["value"] = self._target(header["value"].encode("latin-1"))
        shown = {
            "attempt": one.attempt,
            "source": one.source,
            "at": instant.to_text(one.at),
            "headers": headers,
            "body": self._body(
                Body(len(one.body), b"", one.body), one.body, one.headers, people=one.source == "operator"
            ),
        }
        return shown if one.status is None else {**shown, "status": one.status}

    def _target(self, target: bytes) -> str:
        """A request target; the values of parameters that say who somebody is are hidden."""
        path, mark, query = target.decode("latin-1").partition("?")
        pairs = [
            f"{pair.partition('=')[0]}={HIDDEN}"
            if unquote_plus(pair.partition("=")[0], "latin-1") in self._parameters
            else pair
            for pair in query.split("&")
        ]
        return path + mark + "&".join(pairs)

    def _headers(self, headers: Headers) -> list[dict[str, str]]:
        return [
            {"name": name.decode("latin-1"), "value": value.decode("latin-1")}
            for name, value in shown_headers(headers, self._redaction)
        ]

    def _body(self, body: Body, data: bytes, headers: Headers, *, people: bool = False) -> dict[str, Any]:
        """``people``: it is what one of them said, and no redaction is about that."""
        told: dict[str, Any] = {"size": body.size, "sha256": body.digest.hex(), "kept": body.kept}
        shown = data if people else None
        if not people and not self._blind:
            shown = shown_body(data, body.size, headers, self._redaction)
        if shown is None:
            told["hidden"] = True
            return told
        if len(shown) > FIRST_BYTES or len(data) < body.size:
            shown = shown[:FIRST_BYTES]
            told["truncated"] = True
        text = _text(shown, cut="truncated" in told)
        if text is not None:
            told["text"] = text
        else:
            told["base64"] = b64encode(shown).decode()
        return told


def _credentials(process: Process, sealed: bool) -> str:
    """What is said of a client's credentials, which are never shown."""
    if sealed:
        return "kept"
    if process.final and process.had_credentials is None:
        return "unknown"
    return "gone" if process.had_credentials else "none"


def _text(data: bytes, *, cut: bool) -> str | None:
    """Bytes as text, if they are; what is cut may end within a letter."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(data, final=not cut)
    except UnicodeDecodeError:
        return None
