"""The flags of ``strangler serve``; each is also an environment variable, which a flag beats."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal, NamedTuple

from strangler.config.files import Reading, why
from strangler.config.scalars import seconds, size
from strangler.config.urls import MAX_SOCKET_PATH, is_socket_path, web_url
from strangler.config.variables import SecretText, Variables
from strangler.domain.errors import OperatorError
from strangler.domain.exchange import authority

_SHORTEST_KEY = 16  # characters
_OFTENEST = 10.0  # seconds between two reconciliations
_SHORTEST_LEASE = 5.0  # seconds; a lease is renewed every third of it, and under 2 s left nothing is sent


class SettingsError(OperatorError):
    """Flags or environment variables are wrong; the text names each of them and says what was expected."""


class Address(NamedTuple):
    """Where to listen: host and port, or the path of a Unix socket."""

    host: str  # name or address without brackets; empty for a Unix socket
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else authority(self.host, self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this instance runs, apart from its policy. Durations are seconds, sizes bytes."""

    listen: tuple[Address, ...] = field(default_factory=lambda: (Address("127.0.0.1", 8080),))
    tls_cert: str | None = None  # paths of PEM files, for all listeners that are no Unix sockets
    tls_key: str | None = None
    tls_client_ca: str | None = None
    ops: Address = field(default_factory=lambda: Address("127.0.0.1", 9901))
    ops_host: tuple[str, ...] = ()  # further names by which the operations listener may be called
    ops_tokens: str | None = None  # path of the file of named tokens
    store: str = "sqlite:///strangler.db"
    public_url: str | None = None  # no trailing slash
    trust_forwarded: tuple[IPv4Network | IPv6Network, ...] = ()
    workers: int = 1
    drain_timeout: float | None = None  # None: the longest call.timeout + 5 s
    identity_key: str | None = field(default=None, repr=False)  # None: made once beside the store
    disk_reserve: int = 1024**3
    memory_limit: int = 0  # of one worker; 0: none
    on_bad_policy: Literal["exit", "last-good"] = "exit"
    head_timeout: float = 10.0
    body_idle_timeout: float = 60.0
    keepalive: float = 75.0
    max_head: int = 64 * 1024
    max_clients: int = 10_000
    log_format: Literal["json", "text"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    access_log: Literal["all", "recorded", "none"] = "all"
    lease: float = 15.0
    reconcile_every: float | None = None  # None: only when somebody asks


class _Flag(NamedTuple):
    """A flag, its variable and its field of the settings."""

    name: str
    metavar: str
    default: str  # as it is shown
    meaning: str
    parse: Callable[..., Any]  # of a text
    many: bool = False  # may be repeated; its variable takes a comma list
    commas: bool = False  # the flag takes a comma list as well
    looks_up: bool = False  # ``parse`` is given the environment, too

    @property
    def field(self) -> str:
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        return f"STRANGLER_{self.field.upper()}"


def add_arguments(parser: argparse.ArgumentParser, only: Collection[str] | None = None) -> None:
    """Add all flags, or some. Their values stay text until `read_settings`, which treats flags and variables alike."""
    for flag in _FLAGS:
        if only is not None and flag.name not in only:
            continue
        parser.add_argument(
            f"--{flag.name}",
            metavar=flag.metavar,
            action="append" if flag.many else "store",
            help=f"{flag.meaning}{' (repeatable)' if flag.many else ''} [{flag.default}; {flag.variable}]",
        )


def read_settings(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    """The settings that flags and environment variables make together.

    Raises:
        SettingsError: some are wrong; all of them are named.
    """
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for flag in _FLAGS:
        source, texts = _given(flag, arguments, environ)
        if not texts:
            continue
        try:
            parsed = [flag.parse(text, environ) if flag.looks_up else flag.parse(text) for text in texts]
            if len(set(parsed)) < len(parsed):
                raise ValueError("the same value twice")
        except ValueError as error:
            wrong.append(f"{source}: {error}")
        else:
            values[flag.field] = tuple(parsed) if flag.many else parsed[0]
    wrong.extend(_contradictions(values))
    if wrong:
        raise SettingsError("\n".join(wrong))
    return Settings(**values)


def _given(flag: _Flag, arguments: argparse.Namespace, environ: Mapping[str, str]) -> tuple[str, list[str]]:
    """Where a setting comes from, and its texts; none where it was not given."""
    value = getattr(arguments, flag.field, None)
    if value is not None:
        texts = value if isinstance(value, list) else [value]
        return f"--{flag.name}", _parted(texts) if flag.commas else texts
    text = environ.get(flag.variable, "")
    return flag.variable, _parted([text]) if flag.many else [text] if text else []


def _parted(texts: Iterable[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def _contradictions(values: Mapping[str, Any]) -> Iterable[str]:
    for name in ("tls_key", "tls_client_ca"):
        if name in values and "tls_cert" not in values:
            yield f"--{name.replace('_', '-')}: needs --tls-cert"
    listen = values.get("listen", Settings().listen)
    ops = values.get("ops", Settings().ops)
    if ops in listen and (ops.port or ops.path):
        yield f"--ops: {ops} is where clients connect; operations need an address of their own"


def _text(text: str) -> str:
    return text


def _address(text: str) -> Address:
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/"):
            raise ValueError(f"expected unix:/path, found {text!r}")
        if not is_socket_path(path):
            raise ValueError(f"expected the path of a socket, which has at most {MAX_SOCKET_PATH} bytes, found {path}")
        return Address("", 0, path)
    host, separator, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not separator or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"expected HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080, or unix:/path, found {text!r}")
    return Address(host, int(port))


def _file(text: str) -> str:
    try:
        if not stat.S_ISREG(os.stat(text).st_mode):  # to open a pipe would wait for whoever writes to it
            raise ValueError(f"{text} cannot be read: it is no file")
        with Path(text).open("rb"):
            return text
    except OSError as error:
        raise ValueError(f"{text} cannot be read: {why(error)}") from None


def _host(text: str) -> str:
    if not text or any(mark in text for mark in "/@ *"):
        raise ValueError(f"expected a host name, found {text!r}")
    return text.lower()


def base_url(text: str) -> str:
    """The value of `--public-url`, without a slash at its end.

    Raises:
        ValueError: it is none; the text says what was expected.
    """
    parts = web_url(text)
    # It goes into header fields as it is, in angle brackets too (RFC 3986 section 2, RFC 8288 section 3).
    plain = text.isascii() and text.isprintable() and not set(' "<>\\^`{|}') & set(text)
    if parts is None or not plain or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "expected an absolute URL such as https://api.example.org/base, in ASCII, without query and credentials"
        )
    return text.rstrip("/")


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError(f"expected a network such as 10.0.0.0/8 or an address, found {text!r}") from None


def _count(text: str, *, least: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) < least:
        raise ValueError(f"expected a whole number of at least {least}, found {text!r}")
    return int(text)


def _duration(text: str, *, least: float = 0.0) -> float:
    value = 0.0 if text == "0" else seconds(text)
    if value < least:
        raise ValueError(f"expected at least {least:g}s, found {text}")
    return value


def _positive(text: str) -> float:
    value = _duration(text)
    if value == 0:
        raise ValueError("expected a duration of more than 0")
    return value


def _size(text: str, *, least: int = 0) -> int:
    value = 0 if text == "0" else size(text)
    if value < least:
        raise ValueError(f"expected at least {least} bytes, found {text}")
    return value


def _word(text: str, *, words: tuple[str, ...]) -> str:
    if text not in words:
        raise ValueError(f"expected {' or '.join(words)}, found {text!r}")
    return text


def _identity_key(text: str, environ: Mapping[str, str]) -> str:
    key = Variables(environ, Reading()).text(text, os.getcwd())
    if len(key) < _SHORTEST_KEY:
        raise ValueError(f"expected at least {_SHORTEST_KEY} characters")
    return SecretText(key)


_FLAGS = (
    _Flag("listen", "ADDRESS", "127.0.0.1:8080", "where clients connect: HOST:PORT or unix:/path", _address, True),
    _Flag("tls-cert", "FILE", "no TLS", "certificate of the listener, PEM", _file),
    _Flag("tls-key", "FILE", "in the certificate's file", "its private key, PEM", _file),
    _Flag("tls-client-ca", "FILE", "none", "clients need a certificate of these authorities, PEM", _file),
    _Flag("ops", "ADDRESS", "127.0.0.1:9901", "where operations listen: metrics, health, reload", _address),
    _Flag("ops-host", "NAME", "none", "a further host name by which operations may be called", _host, True, True),
    _Flag("ops-tokens", "FILE", "none", "named tokens of operators; `strangler tokens` makes them", _file),
    _Flag("store", "URL", "sqlite:///strangler.db", "where processes are kept: sqlite:///PATH or memory:", _text),
    _Flag("public-url", "URL", "as requests say", "base of all links to processes; may have a path", base_url),
    _Flag("trust-forwarded", "CIDR,…", "nobody", "proxies whose forwarding headers are believed", _network, True, True),
    _Flag("workers", "N", "1", "OS processes that share the work", partial(_count, least=1)),
    _Flag(
        "drain-timeout",
        "DURATION",
        "the longest call.timeout + 5s",
        "how long calls under way may go on when it ends",
        _duration,
    ),
    _Flag(
        "identity-key",
        "${file:PATH}",
        "made once beside the store",
        "key of callers' identities and of stored credentials; ${secret-env:NAME} works as well",
        _identity_key,
        looks_up=True,
    ),
    _Flag("disk-reserve", "SIZE", "1GiB", "free disk space below which no new work is taken", _size),
    _Flag(
        "memory-limit",
        "SIZE",
        "none",
        "memory of one worker in use above which no new work is taken",
        partial(_size, least=64 * 1024 * 1024),
    ),
    _Flag(
        "on-bad-policy",
        "exit|last-good",
        "exit",
        "when the policy does not load at start: end, or run the last one that did",
        partial(_word, words=("exit", "last-good")),
    ),
    _Flag("head-timeout", "DURATION", "10s", "for a request's head to arrive", _positive),
    _Flag("body-idle-timeout", "DURATION", "60s", "between two pieces of a body", _positive),
    _Flag("keepalive", "DURATION", "75s", "idle life of a client's connection", _positive),
    _Flag("max-head", "SIZE", "64KiB", "the largest head of a request or reply", partial(_size, least=1024)),
    _Flag("max-clients", "N", "10000", "client connections per worker", partial(_count, least=1)),
    _Flag("log-format", "json|text", "json", "form of the log", partial(_word, words=("json", "text"))),
    _Flag(
        "log-level",
        "LEVEL",
        "info",
        "debug, info, warning or error",
        partial(_word, words=("debug", "info", "warning", "error")),
    ),
    _Flag(
        "access-log",
        "all|recorded|none",
        "all",
        "which requests get a line of the log",
        partial(_word, words=("all", "recorded", "none")),
    ),
    _Flag(
        "reconcile-every",
        "DURATION",
        "when somebody asks",
        "compare all that is stored with what has to hold of it, beside the traffic; what is wrong is an exception",
        partial(_duration, least=_OFTENEST),
    ),
    _Flag(
        "lease",
        "DURATION",
        "15s",
        "advanced: how long a worker that is not heard of keeps its calls",
        partial(_duration, least=_SHORTEST_LEASE),
    ),
)

VARIABLES = frozenset(flag.variable for flag in _FLAGS)
"""The environment variables that are settings of `serve`."""
