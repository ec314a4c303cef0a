"""What a route policy says, as plain values: every key of the file with its default filled in.

Durations are seconds, sizes are bytes. `config` makes these from YAML; nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from strangler.domain.process import PublicState
from strangler.domain.retry import Backoff
from strangler.policy.upstreams import Upstream
from strangler.policy.wall import ErrorForm

if TYPE_CHECKING:
    from strangler.policy.conditions import Test
    from strangler.policy.expressions import Template
    from strangler.policy.receivers import CallbackPolicy, Receiver
    from strangler.policy.references import References
    from strangler.policy.rendering import Rendering
    from strangler.policy.translate import Interpreter

ContractName = Literal["native", "azure"]
"""The representations that a process can be seen in."""


OnInDoubt = Literal["review", "retry", "probe", "fail"]

READS = frozenset({"GET", "HEAD"})
"""Methods whose repetition the legacy system is taken to bear unless the policy says otherwise."""


class Mode(StrEnum):
    """How a route answers."""

    PASSTHROUGH = "passthrough"
    COMPAT = "compat"
    ASYNC = "async"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which requests a route is for. Empty means all, in each part but ``paths``."""

    paths: tuple[str, ...]
    methods: frozenset[str] = frozenset()
    hosts: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)  # lower-case names
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A share of the clients that gets another mode."""

    mode: Mode
    percent: float
    seed: str
    wait: float | None = None  # None: the mode's usual one
    by: str = "caller"  # caller, header:NAME, cookie:NAME, query:NAME, address
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class Kept(NamedTuple):
    """Milliseconds that a final process and its parts are kept; None: as long as the process."""

    whole: int
    bodies: int | None
    history: int | None
    deliveries: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPolicy:
    """What a route's processes look like and how long they live."""

    type: str
    resource: str = "/processes"
    id_field: str | None = None
    deadline: float = 86400.0
    retain: float = 30 * 86400.0
    retain_bodies: float | None = None  # None: as long as the process
    retain_history: float | None = None
    retain_deliveries: float | None = None
    statuses: Mapping[PublicState, str] = field(default_factory=dict)  # states that are absent: in capitals
    contract: ContractName = "native"
    public_references: tuple[str, ...] | None = None  # names of those that its client is shown

    @property
    def kept(self) -> Kept:
        """How long a process and its parts are kept, as it is written down with a process."""
        return _kept(self.retain, self.retain_bodies, self.retain_history, self.retain_deliveries)


@lru_cache(maxsize=1024)
def _kept(whole: float, *parts: float | None) -> Kept:
    """Seconds as milliseconds; kept, because it is asked for on every acceptance."""
    return Kept(round(whole * 1000), *(None if each is None else round(each * 1000) for each in parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyPolicy:
    """How repeats of a request are recognised."""

    headers: tuple[str, ...] = ("Idempotency-Key",)
    required: bool = False
    ttl: float = 86400.0
    scope: Literal["caller", "route"] = "caller"
    derive: str | None = None  # "fingerprint", or an expression (JMESPath)
    derive_anonymous: bool = False
    window: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptPolicy:
    """What is accepted for recording."""

    schema: Mapping[str, Any] | None = None  # the JSON Schema itself
    content_types: tuple[str, ...] = ()
    require_headers: tuple[str, ...] = ()
    enforce: Literal["on", "report"] = "on"
    max_body: int = 10 * 1024 * 1024
    over_max_body: Literal["413", "passthrough"] = "413"
    idempotency: IdempotencyPolicy = field(default_factory=IdempotencyPolicy)
    queue_bytes: int = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtPolicy:
    """Whose tokens are taken."""

    jwks: str  # where the issuer's keys are: a URL, or the absolute path of a file
    issuer: str | None = None  # None: any that these keys sign for
    audience: tuple[str, ...] = ()  # one of these; empty: any
    document: bytes | None = field(default=None, compare=False, repr=False)  # what the file holds


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizePolicy:
    """How the upstream is asked whether a client may."""

    path: str  # a template
    method: str = "GET"
    cache: float = 30.0  # that a yes holds


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPolicy:
    """Whose a process is, and who may see and cancel it."""

    identity: tuple[str, ...] = ("header:Authorization", "header:X-Api-Key")
    read: Literal["caller", "anyone"] | None = None  # None: caller where the request had an identity, else anyone
    cancel: Literal["caller", "anyone", "nobody"] | None = None  # None: as read; nobody where that is anyone
    name: str | None = None
    jwt: JwtPolicy | None = None
    authorize: AuthorizePolicy | None = None

    @property
    def guarded(self) -> bool:
        """Whether credentials are looked at before anything is accepted or read."""
        return self.jwt is not None or self.authorize is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowPolicy:
    """How the upstream is asked about what it took and has not decided yet."""

    header: str | None = "location"  # of its reply, lower case, that says where; None: `template` does
    template: Template | None = None  # a path over its reply and the process
    every: float = 30.0
    duration: float = 7 * 86400.0  # `for`
    done: Test | None = None  # None: by the built-in rules
    set_headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitPolicy:
    """After how many failures in a row, within which time, calls pause, and for how long."""

    failures: int = 5
    within: float = 30.0
    open: float = 30.0


class Rate(NamedTuple):
    """So many requests in so many seconds."""

    requests: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many requests each client of a route may send. None: as many as it likes."""

    accepts: Rate | None = None
    polls: Rate | None = None
    by: str = "caller"  # caller, address, header:NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What a client gets of a call that a probe found to have been applied."""

    status: int = 200
    body: Rendering | None = None  # over the request and the answer to the probe; None: it has none


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePolicy:
    """How the upstream is asked whether a call in doubt was applied: a read-only question."""

    template: Template  # a path over the request and the process
    applied: Test  # which answers say that it was …
    absent: Test | None = None  # … and which that it surely was not; None: nothing says so
    method: Literal["GET", "HEAD"] = "GET"
    upstream: Upstream | None = None  # None: the route's
    set_headers: tuple[tuple[str, str], ...] = ()
    timeout: float = 10.0
    result: ProbeResult | None = None  # None: the process ends without a reply
    attempts: int = 5
    backoff: float = 30.0  # seconds between two questions


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPolicy:
    """How the legacy system is called for a recorded request."""

    timeout: float
    attempts: int | None  # None: by the method, see `attempts_for`
    on_in_doubt: OnInDoubt | None  # None: by the method, see `on_in_doubt_for`
    settle: float
    backoff: Backoff = field(default_factory=Backoff)
    retry_on_not_sent: bool = True
    retry_on_status: frozenset[int] = frozenset({429, 503})
    set_headers: tuple[tuple[str, str], ...] = ()
    remove_headers: frozenset[str] = frozenset()  # lower case
    credentials: Literal["forward", "drop"] = "forward"
    forward_idempotency_key: str | None = None
    concurrency: int = 32
    queue: int = 10_000
    max_reply: int = 64 * 1024 * 1024
    follow: FollowPolicy | None = None
    circuit: CircuitPolicy | None = None  # None: off
    probe: ProbePolicy | None = None

    def attempts_for(self, method: str) -> int:
        """How many calls of a request may have had an effect, in all."""
        if self.attempts is not None:
            return self.attempts
        return 3 if method in READS else 1


def on_in_doubt_for(choice: OnInDoubt | None, method: str) -> OnInDoubt:
    """What is done when nobody knows what a request of this method did, where the policy made no choice, too."""
    if choice is not None:
        return choice
    return "retry" if method in READS else "review"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """What is taken from, then put before, the path that goes upstream."""

    strip_prefix: str = ""
    add_prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deprecation:
    """Header values for clients that still wait synchronously (RFC 9745, RFC 8594)."""

    since: str | None = None  # "@1735689600"
    sunset: str | None = None  # HTTP-date
    link: str | None = None  # URL


@dataclass(frozen=True, slots=True, kw_only=True)
class CorsPolicy:
    """Which pages of other origins may use what is answered here. Without origins it is off."""

    origins: tuple[str, ...] = ()  # https://app.example, https://*.example.org, *
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    credentials: bool = False
    max_age: float = 600.0


@dataclass(frozen=True, slots=True)
class Redaction:
    """What people do not see of requests and replies."""

    headers: frozenset[str] = frozenset()  # lower case
    pointers: frozenset[str] = frozenset()  # JSON Pointers (RFC 6901); a token ``*`` is every member and every item

    def __bool__(self) -> bool:
        return bool(self.headers or self.pointers)

    def and_also(self, other: Redaction) -> Redaction:
        """All that either of them hides."""
        return Redaction(self.headers | other.headers, self.pointers | other.pointers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What is promised with a process and therefore kept with it, whatever the policy says later.

    How to reach others (upstreams, secrets, timeouts, concurrency, queue) is always today's policy.
    """

    digest: str  # SHA-256 of the text it is stored as, hex
    route: str
    process: ProcessPolicy
    access: AccessPolicy
    on_in_doubt: OnInDoubt | None  # None: by the method
    wait: float
    redact: Redaction = field(default_factory=Redaction)
    references: References | None = field(default=None, compare=False)
    """What operators find its processes by, compiled; None: nothing of their own."""
    wall: Interpreter | None = field(default=None, compare=False)
    """`translate` and `outcome`, compiled; None: neither is there, and nothing of a request or reply is looked into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One entry of the policy file."""

    name: str
    match: Match
    upstream: Upstream
    mode: Mode
    wait: float  # of its own mode, default filled in
    promise: Promise
    process: ProcessPolicy
    accept: AcceptPolicy
    access: AccessPolicy
    call: CallPolicy
    prefer: Literal["honor", "ignore"] = "honor"
    rollout: Rollout | None = None
    rewrite: Rewrite = field(default_factory=Rewrite)
    on_store_failure: Literal["refuse", "passthrough"] = "refuse"
    deprecation: Deprecation | None = None
    public_url: str | None = None
    errors: ErrorForm | None = None  # None: problem documents
    cors: CorsPolicy = field(default_factory=CorsPolicy)
    limits: Limits = field(default_factory=Limits)
    callbacks: CallbackPolicy | None = None  # None: nobody is called back

    @property
    def records(self) -> bool:
        """Whether some of its requests become processes."""
        return self.mode is not Mode.PASSTHROUGH or (
            self.rollout is not None and self.rollout.mode is not Mode.PASSTHROUGH
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Default:
    """What serves whatever no route matches."""

    upstream: Upstream
    rewrite: Rewrite = field(default_factory=Rewrite)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All routes of all files: one immutable table, swapped whole on reload."""

    revision: str  # digest of all that was read, hex
    upstreams: Mapping[str, Upstream]
    routes: Mapping[str, Route]
    default: Default | None = None
    receivers: Mapping[str, Receiver] = field(default_factory=dict)
