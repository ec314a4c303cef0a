"""Requests and replies as plain values that all sides of the house speak.

Header names and values are bytes exactly as they came: order, case, duplicates and non-ASCII octets are kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from strangler.domain.errors import InternalError

Header = tuple[bytes, bytes]
Headers = Sequence[Header]

CHUNK_SIZE = 256 * 1024
"""Bytes of a recorded body that are stored, and held in memory, at a time."""


class Peer(NamedTuple):
    """Who is at the other end of the client's connection."""

    address: str  # IP address as text; empty for a Unix socket
    port: int
    tls: bool = False
    tls_subject: str | None = None  # RFC 4514 string of a verified client certificate
    local: str = ""  # authority of our end, "host:port", for URLs where nothing better is known


def authority(host: str, port: int) -> str:
    """Host and port as they stand in a URL (RFC 3986 section 3.2). ``host``: without brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class BodyReader(Protocol):
    """The body of a request while it arrives; read once, from begin to end."""

    async def read(self) -> bytes:
        """The next bytes, at least one; ``b""`` at the end.

        Raises:
            ClientGone: the client closed the connection before the end of the body.
            BodyTimeout: no byte came for longer than ``--body-idle-timeout``.
            BadBody: the framing of the body is broken.
        """
        ...


class Claims(NamedTuple):
    """What a token says that was verified."""

    issuer: str
    values: Mapping[str, Any]  # plain JSON


class ClientGone(Exception):
    """The client closed its connection."""


class BodyTimeout(Exception):
    """The client sent no byte of the body for too long, or not all of it in time."""


class BadBody(Exception):
    """The framing of the body is broken."""


class Request:
    """One request as the front parsed it, once. Everything else takes it from here, never from a second parse."""

    __slots__ = (
        "_fields",
        "_headers",
        "body",
        "content_length",
        "has_body",
        "method",
        "old",
        "path",
        "peer",
        "query",
        "target",
        "verified",
    )

    def __init__(
        self,
        method: str,
        target: bytes,
        headers: Headers | Callable[[], Headers],
        peer: Peer,
        body: BodyReader,
        *,
        has_body: bool = False,
        content_length: int | None = None,
        old: bool = False,
    ) -> None:
        self.method = method
        self.target = target  # request target as it came, origin form (an absolute form was reduced to it)
        path, mark, query = target.partition(b"?")
        self.path = path
        self.query = query if mark else None  # b"" is an empty query: "/a?"
        self._headers = headers  # or what parses them, for whoever asks
        self.peer = peer
        self.body = body
        self.has_body = has_body
        self.content_length = content_length  # None: none was given (chunked, or no body)
        self.old = old  # it is of HTTP/1.0
        self.verified: dict[Hashable, Claims] = {}  # of its token, by the policy under which it was verified
        self._fields: dict[bytes, bytes] | None = None

    @property
    def headers(self) -> Headers:
        """The fields as (name, value)."""
        headers = self._headers
        if callable(headers):
            headers = self._headers = headers()
        return headers

    def field(self, name: bytes) -> bytes | None:
        """The value of the header ``name`` (lower case), all its lines joined by ", "; None where there is none."""
        if self._fields is None:
            self._fields = joined_fields(self.headers)
        return self._fields.get(name)

    def fields(self) -> Mapping[bytes, bytes]:
        """All header fields by lower-case name, the lines of one name joined."""
        if self._fields is None:
            self._fields = joined_fields(self.headers)
        return self._fields


def joined_fields(headers: Headers) -> dict[bytes, bytes]:
    """Header fields by lower-case name, several lines of one name joined by ", " (RFC 9110 section 5.3)."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        name = name.lower()
        fields[name] = fields[name] + b", " + value if name in fields else value
    return fields


def joined_field(headers: Headers, name: bytes) -> bytes | None:
    """What `joined_fields` has under one name, in lower case; None: there is no such field."""
    lines = [value for known, value in headers if known.lower() == name]
    return b", ".join(lines) if lines else None


def field_texts(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """What `joined_fields` made, as texts: a value is UTF-8, or else a letter for each octet (RFC 9110 section 5.5)."""
    return {name.decode("latin-1"): _field_text(value) for name, value in fields.items()}


def _field_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


@dataclass(slots=True)
class Answer:
    """What goes back to a client: our own answer, or a recorded reply. The front adds framing, Date and Connection."""

    status: int
    headers: list[Header] = field(default_factory=list)
    body: bytes | AsyncIterator[bytes] = b""
    length: int | None = None  # of an iterated body, where it is known: sent with it as Content-Length, else chunked
    reason: bytes = b""  # empty: the usual phrase of the status
    as_it_came: bool = False  # a recorded reply to who waited for it: it gets no Date that the upstream did not give


@dataclass(slots=True)
class PassOn:
    """The verdict of a handler that the request goes through untouched after all, with what was read of its body."""

    read: Sequence[bytes] = ()


class Channel(Protocol):
    """A client's connection once it was upgraded: bytes both ways. Whoever converses is cancelled when it is gone."""

    async def read(self) -> bytes:
        """The client's next bytes; ``b""`` once it sends nothing more, or nothing more is wanted."""
        ...

    async def write(self, data: bytes) -> None:
        """Send bytes; returns when there is room for more. A client that makes none for too long is dropped."""
        ...

    def hang_up(self) -> None:
        """No more is read: the reads to come, and the one under way, yield the end."""
        ...


@dataclass(slots=True)
class Upgrade:
    """The verdict of a handler that the connection speaks another protocol from now on (RFC 9110 section 7.8)."""

    protocol: bytes
    headers: list[Header]
    converse: Callable[[Channel], Awaitable[None]]  # its end is the end of the connection


class Body(NamedTuple):
    """A recorded body. Up to `CHUNK_SIZE` bytes it is held here; a longer one lies in chunks in the store."""

    size: int
    digest: bytes  # SHA-256 over all of it
    data: bytes | None  # None: in chunks
    kept: bool = True  # False: it was too large to keep

    @property
    def chunks(self) -> int:
        """How many chunks lie in the store."""
        return 0 if self.data is not None or not self.kept else -(-self.size // CHUNK_SIZE)


class RecordedRequest(NamedTuple):
    """A client's request as it is kept, and sent from, however often."""

    method: str
    target: bytes
    headers: Headers  # without those of `credentials`
    # (position among all headers, name, value); sealed at rest. None: they are there, and the seal does not open.
    credentials: Sequence[tuple[int, bytes, bytes]] | None
    body: Body

    def all_headers(self) -> list[Header]:
        """The headers as they came, credentials in their old places.

        Raises:
            InternalError: the credentials do not open: without them it is another request.
        """
        if self.credentials is None:
            raise InternalError("a request was about to be sent without its credentials")
        headers = list(self.headers)
        for position, name, value in sorted(self.credentials):
            headers.insert(position, (name, value))
        return headers


class RecordedReply(NamedTuple):
    """A whole reply of the upstream as it is kept."""

    status: int
    reason: bytes
    headers: Headers
    body: Body


class FaultKind(StrEnum):
    """Why there is no whole reply, as far as it matters for what may be done next."""

    NOT_SENT = "not_sent"  # provably no byte of the request left
    INTERRUPTED = "interrupted"  # bytes may have left, and no whole reply came


class Hindrance(StrEnum):
    """What of Strangler's own kept a call from its end. It says nothing of the upstream."""

    DRAINING = "draining"
    STORE = "store-unavailable"
    LEASE = "lease-lost"
    DEADLINE = "deadline-passed"
    PROMISE = "promise-unknown"
    DEFECT = "internal-error"


class Fault(NamedTuple):
    """There was no whole reply."""

    kind: FaultKind
    reason: str  # for people and logs: "connection refused", "timeout after 60 s"
    timeout: bool = False  # it was a deadline that ran out
    ours: Hindrance | None = None  # None: it is of the upstream, or of the way to it


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    NOT_SENT = "not_sent"
    REFUSED = "refused"  # a status that says: did nothing
    COMPLETED = "completed"  # a whole reply
    INTERRUPTED = "interrupted"


class Attempt(NamedTuple):
    """One upstream try of a process; without an outcome it is under way, or was when its worker died."""

    process_id: str
    number: int  # 1, 2, …
    fence: int
    owner: str
    started_at: int
    ended_at: int | None = None
    outcome: AttemptOutcome | None = None
    status: int | None = None
    detail: str | None = None  # the fault's reason, or the rule that decided
