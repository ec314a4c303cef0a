"""The identity key, and what is sealed with it: the credentials of recorded requests never lie on a disk in clear."""

from __future__ import annotations

import os
import secrets
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strangler.domain.errors import OperatorError
from strangler.store.durable import sync_folder

KEY_BYTES = 32
_SHORTEST = 16  # bytes of a key that an operator gives
_NONCE = 12  # bytes, NIST SP 800-38D section 5.2.1.1: the length that GCM is made for
_NONCES = 256  # per call of the kernel


class Sealer(Protocol):
    """Makes bytes unreadable, and readable again."""

    def seal(self, data: bytes, context: bytes) -> bytes:
        """``data`` encrypted and authenticated, for this context (the bytes of a process id) only."""
        ...

    def open(self, sealed: bytes, context: bytes) -> bytes | None:
        """What was sealed for this context; None: under another key, for another context, or somebody changed it."""
        ...


class AesGcmSealer:
    """AES-256-GCM under a key that is derived from the identity key (HKDF, RFC 5869); a fresh nonce each time."""

    def __init__(self, identity_key: bytes) -> None:
        derived = HKDF(SHA256(), length=32, salt=None, info=b"strangler credentials v1").derive(identity_key)
        self._cipher = AESGCM(derived)
        self._nonces: Iterator[bytes] = iter(())
        forget = weakref.WeakMethod(self._forget)
        # Two processes that go on with the same nonces would give both away.
        os.register_at_fork(after_in_child=lambda: (call := forget()) and call())

    def seal(self, data: bytes, context: bytes) -> bytes:
        """See `Sealer.seal`."""
        # A call of the kernel gives up the interpreter's lock: one for each request let the store's writer in between,
        # and cost more than everything else that a caller's identity costs.
        nonce = next(self._nonces, None) or self._refill()
        return nonce + self._cipher.encrypt(nonce, data, context)

    def open(self, sealed: bytes, context: bytes) -> bytes | None:
        """See `Sealer.open`."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], context)
        except (InvalidTag, ValueError):
            return None

    def _refill(self) -> bytes:
        drawn = os.urandom(_NONCE * _NONCES)
        first, *others = (drawn[start : start + _NONCE] for start in range(0, len(drawn), _NONCE))
        self._nonces = iter(others)
        return first

    def _forget(self) -> None:
        self._nonces = iter(())


_MISSING = (
    "{store} is there, and its key is not: under a new one no caller would find its processes, and what they repeat "
    "with a known key would be done twice. Give the key that it was written with, as --identity-key or in {key}; if it "
    "is lost for good, `strangler store rekey` says what is lost with it"
)


_NO_KEY = (
    f"expected the {KEY_BYTES} bytes of an identity key in hexadecimal. Put back that of a backup; if there is none, "
    "move it away, and see `strangler store rekey`"
)


def key_path(store_path: Path) -> Path:
    """Where the identity key of a store lies that ``--identity-key`` does not give."""
    return store_path.with_name(store_path.name + ".identity-key")


def load_identity_key(setting: str | bytes | None, store_path: Path | None, *, anew: bool = False) -> bytes:
    """The identity key: what ``--identity-key`` holds (the content of a file, its line end is cut), else the one beside
    the store, which is made with it; without a store it is new each time.

    Args:
        anew: one that is missing is made where the store is there, too: somebody knows what is lost with it.

    Raises:
        OperatorError: the key is too short, its file cannot be read or written, or the store was written under one that
            is not here: callers would be strangers to their processes, and a known key of theirs a new one.
    """
    if setting is not None:
        key = (setting.encode() if isinstance(setting, str) else setting).rstrip(b"\r\n")
        if len(key) < _SHORTEST:
            raise OperatorError(f"--identity-key holds {len(key)} bytes; at least {_SHORTEST} are needed")
        return key
    if store_path is None:
        return secrets.token_bytes(KEY_BYTES)
    path = key_path(store_path)
    try:
        return _read(path)
    except FileNotFoundError:
        if not anew and store_path.exists() and store_path.stat().st_size:
            raise OperatorError(_MISSING.format(store=store_path, key=path)) from None
        try:
            return _make(path)
        except OSError as error:
            if not path.parent.is_dir():
                raise OperatorError(f"{path.parent}: there is no such folder for a store; make it") from None
            raise OperatorError(f"{path}: {error.strerror}; it is to hold the key of the store") from error


def _read(path: Path) -> bytes:
    try:
        text = path.read_text("ascii")
        key = bytes.fromhex(text)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}; it is to hold the key of the store") from error
    except ValueError as error:
        raise OperatorError(f"{path}: {_NO_KEY}") from error
    if len(key) != KEY_BYTES:
        raise OperatorError(f"{path}: found {len(key)} bytes, {_NO_KEY}")
    return key


def _make(path: Path) -> bytes:
    """A new key, whole and on disk under its name before it is used; if two make one, both use the first."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(KEY_BYTES).encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return _read(path)
    finally:
        os.unlink(draft)
    sync_folder(path.parent)
    return _read(path)
