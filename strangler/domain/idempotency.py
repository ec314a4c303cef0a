"""Idempotency: the client's key, our fingerprint of its request, and the judgement over both.

After draft-ietf-httpapi-idempotency-key-header; where a repeat arrives while the first still runs, it joins the first
(the draft's 409 is a SHOULD; the deviation is on purpose).
"""

from __future__ import annotations

import hashlib
import re
from enum import Enum, auto
from typing import NamedTuple

from strangler.domain.process import Effect, Process

MAX_KEY_LENGTH = 255

# RFC 8941 section 3.3.3: a quoted string of printable ASCII with \" and \\ as the only escapes …
_QUOTED = re.compile(rb'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]++|\\["\\])*+)"')
_ESCAPED = re.compile(rb'\\(["\\])')
# … and the bare tokens that clients in the field send: anything visible but quotes, commas, backslash, semicolons.
_BARE = re.compile(rb"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+")


class KeySyntaxError(ValueError):
    """A given idempotency key is neither a quoted string nor a bare token of at most 255 characters."""


def parse_key(value: bytes) -> str | None:
    """The key that a header value gives; None where it is empty. Quoted and bare forms are the same key.

    Raises:
        KeySyntaxError: it is neither form, or too long.
    """
    value = value.strip(b" \t")
    if not value or value == b'""':
        return None
    if quoted := _QUOTED.fullmatch(value):
        key = quoted[1]
        if b"\\" in key:
            key = _ESCAPED.sub(rb"\1", key)
    elif _BARE.fullmatch(value):
        key = value
    else:
        raise KeySyntaxError('expected a quoted string or a token, as in "8e03978e-40d5"')
    if len(key) > MAX_KEY_LENGTH:
        raise KeySyntaxError(f"{len(key)} characters; at most {MAX_KEY_LENGTH} are taken")
    return key.decode("ascii")


def sought_key(text: str) -> str:
    """A key that somebody looks for, as its process shows it. In quotes, as it may stand in a header, it is the same.

    Raises:
        KeySyntaxError: it begins with a quote, and is no quoted string.
    """
    return parse_key(text.encode("ascii", "replace")) or "" if text.startswith('"') else text


def fingerprint(method: str, path: bytes, query: bytes | None, content_type: bytes | None, digest: bytes) -> bytes:
    """SHA-256 over what makes two requests the same request; ``digest`` is the SHA-256 of the body."""
    hasher = hashlib.sha256()
    for part in (method.encode(), path, query, content_type):
        # A length before each part, so that no two different requests run together; absent is not empty.
        hasher.update(b"-" if part is None else b"%d:%b" % (len(part), part))
    hasher.update(digest)
    return hasher.digest()


class KeyRecord(NamedTuple):
    """A key that is known: which process it belongs to, and for which request."""

    scope: str
    key: str
    fingerprint: bytes
    process_id: str
    expires_at: int | None = None  # None: its process is not final yet, and it cannot lapse


class Judgement(Enum):
    """What a known or unknown key means for a request."""

    FRESH = auto()  # nobody sent it before, or it has lapsed
    REPLAY = auto()  # the same request again: it joins its process
    MISMATCH = auto()  # another request under the same key


def judge(record: KeyRecord | None, request_fingerprint: bytes, now: int) -> Judgement:
    """Whether a request with a key is fresh, the same again, or another one under a used key."""
    if record is None or (record.expires_at is not None and record.expires_at <= now):
        return Judgement.FRESH
    return Judgement.REPLAY if record.fingerprint == request_fingerprint else Judgement.MISMATCH


def key_expiry(process: Process, now: int) -> int | None:
    """When the key of a process that ended at ``now`` lapses; at once where nothing happened: the key is released.

    None: it has no key.
    """
    if process.key_lookup is None:
        return None
    return now if process.effect is Effect.NONE else now + process.key_life


def retained_from(process: Process, ended_at: int) -> int:
    """From when the retention of a process that ended counts: its end, or when its key lapses."""
    return key_expiry(process, ended_at) or ended_at
