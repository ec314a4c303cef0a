"""Named tokens: who has one is known by name, and may read or change by its role.

A token is 256 random bits, so its plain SHA-256 is all that has to be kept, and cannot be guessed from it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from strangler.domain.errors import OperatorError
from strangler.operations.api.endpoint import Role

_PREFIX = "sop_"  # so that a scanner of leaked secrets can know one
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@+-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ROLES = {role.value: role for role in (Role.VIEWER, Role.OPERATOR)}
_MEMBERS = {"name", "role", "sha256"}
_LONGEST_CLAIM = 64  # characters
_MOST = 1024 * 1024  # bytes of a file of tokens

LOCAL = "command-line"
"""The name of the token that is made at each start."""


class Holder(NamedTuple):
    """Whoever presents a token."""

    name: str
    role: Role


class Entry(NamedTuple):
    """A line of the file."""

    name: str
    role: Role
    digest: bytes


def make_token() -> str:
    """A new token."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def entry_line(name: str, role: Role, token: str) -> str:
    """The line of the file for a token."""
    return f'- {{name: "{name}", role: {role.value}, sha256: "{digest_of(token).hex()}"}}\n'


def pass_path(store: Path) -> Path:
    """Where the token of the command line lies, by the path of the store."""
    return store.with_name(store.name + ".ops-token")


def named(name: str, claim: str) -> str:
    """A name for the audit log, with who sits there by their own account, as far as that can be shown."""
    believed = 0 < len(claim) <= _LONGEST_CLAIM and claim.isprintable()
    return f"{name} ({claim})" if believed else name


def is_name(text: str) -> bool:
    """Whether a text may name a token."""
    return _NAME.fullmatch(text) is not None and text != LOCAL


def parse(text: str, place: str) -> tuple[Entry, ...]:
    """The entries of a file of tokens.

    Raises:
        OperatorError: it is no list of ``{name, role, sha256}``; the text says where and never quotes a digest.
    """
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark is not None else ""
        raise OperatorError(f"{place}{where}: it is not YAML") from None
    except (ValueError, RecursionError):  # a date or a number that cannot be, or too deep
        raise OperatorError(f"{place}: it is not YAML that can be read") from None
    if found is None:
        return ()
    if not isinstance(found, list):
        raise OperatorError(f"{place}: expected a list of {{name: …, role: viewer or operator, sha256: …}}")
    entries: list[Entry] = []
    for number, one in enumerate(found, 1):
        try:
            entries.append(_entry(one))
        except ValueError as error:
            raise OperatorError(f"{place}: token {number}: {error}") from None
    for member in (0, 2):
        if len({entry[member] for entry in entries}) < len(entries):
            raise OperatorError(f"{place}: two tokens have one {'name' if member == 0 else 'hash'}")
    return tuple(entries)


def _entry(one: Any) -> Entry:
    if not isinstance(one, dict) or set(one) != _MEMBERS:
        raise ValueError("expected name, role and sha256, and nothing else")
    name, role, digest = one["name"], one["role"], one["sha256"]
    if not isinstance(name, str) or not is_name(name):
        raise ValueError(f"name: expected up to 64 letters, digits, spaces and . _ @ + -, and not {LOCAL}")
    if not isinstance(role, str) or role not in _ROLES:
        raise ValueError("role: expected viewer or operator")
    if not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None:
        raise ValueError("sha256: expected 64 hexadecimal digits, in quotes")
    return Entry(name, _ROLES[role], bytes.fromhex(digest))


class Tokens:
    """The tokens that hold now.

    Args:
        path: the file; None: there is none. It is read again whenever it has changed. One that became wrong is told by
            ``on_trouble``, and what it held before goes on to hold; one that is gone holds nothing.

    Raises:
        OperatorError: the file cannot be read, or is wrong, at the start.
    """

    def __init__(self, path: Path | None, on_trouble: Callable[[str], None] = lambda reason: None) -> None:
        self._path = path
        self._on_trouble = on_trouble
        self._made: tuple[Entry, ...] = ()
        self._named: tuple[Entry, ...] = ()
        self._stamp: tuple[int, ...] | None = None  # of the file as it was read last; None: it was gone
        self._obstacle: str | None = None  # why it cannot be read by now
        if path is not None:
            try:
                self._stamp = _stamp(path)
                self._named = _read(path)
            except OSError as error:
                raise OperatorError(f"--ops-tokens: {path}: {error.strerror}") from None

    def make(self) -> str:
        """A new token for the command line of this machine; the one before holds no longer."""
        token = make_token()
        self._made = (Entry(LOCAL, Role.OPERATOR, digest_of(token)),)
        return token

    def holder(self, token: str) -> Holder | None:
        """Whose a token is; takes as long for one that is nobody's."""
        self._look()
        digest, found = digest_of(token), None
        for entry in (*self._made, *self._named):
            if hmac.compare_digest(entry.digest, digest):
                found = Holder(entry.name, entry.role)
        return found

    def _look(self) -> None:
        if self._path is None:
            return
        try:
            stamp = _stamp(self._path)
            if stamp == self._stamp:
                return
            named = _read(self._path)
        except FileNotFoundError:
            if self._stamp is not None:
                self._on_trouble(f"{self._path} is gone: no named token holds")
            self._stamp, self._named = None, ()
        except OSError as error:
            # Its content is not known, so it is tried again each time: a token may have been taken back in it.
            obstacle = f"{self._path}: {error.strerror}"
            if obstacle != self._obstacle:
                self._on_trouble(obstacle)
            self._obstacle = obstacle
        except OperatorError as error:
            self._stamp, self._obstacle = stamp, None
            self._on_trouble(str(error))
        else:
            self._stamp, self._named, self._obstacle = stamp, named, None


def _stamp(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path) -> tuple[Entry, ...]:
    with path.open("rb") as file:
        data = file.read(_MOST + 1)
    if len(data) > _MOST:
        raise OperatorError(f"{path}: larger than a file of tokens can be")
    try:
        return parse(data.decode("utf-8"), str(path))
    except UnicodeDecodeError:
        raise OperatorError(f"{path}: it is not UTF-8") from None
