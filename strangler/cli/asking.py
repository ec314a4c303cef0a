"""The way of the command line to the operations listener of a running server: HTTP over TCP or a Unix socket."""

from __future__ import annotations

import argparse
import getpass
import http.client
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from strangler.config.scalars import is_text
from strangler.config.urls import MAX_SOCKET_PATH, is_socket_path, web_url
from strangler.domain.errors import AskedWrongly, AskFailed, AskRefused, OperatorError
from strangler.domain.exchange import authority
from strangler.domain.process import ID
from strangler.operations.api.tokens import pass_path
from strangler.store.open import store_path

_TIMEOUT = 60.0  # seconds for an answer to begin, and between two pieces of it
_PIECE = 64 * 1024
_ABOUT_THIS_ONE = frozenset({404, 409, 410, 422})
_USUAL = "127.0.0.1:9901"
_USUAL_STORE = "sqlite:///strangler.db"
# Who listens at all addresses of one family is asked at the loopback of that family: a server takes no other's there.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class Place(NamedTuple):
    """Where operations listen: host and port, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = False

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else authority(self.host, self.port)


class Pass(NamedTuple):
    """What a server wrote down at its start for the command line of its machine."""

    token: str
    ops: str


def add_ops_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that every verb has that speaks to a server."""
    group = parser.add_argument_group("where the server is")
    group.add_argument(
        "--ops",
        default=os.environ.get("STRANGLER_OPS"),
        metavar="URL|unix:PATH",
        help="the operations listener: http://host:9901, host:9901 or unix:/path (or STRANGLER_OPS; default: as the "
        f"server over --store wrote down, else {_USUAL})",
    )
    group.add_argument(
        "--store",
        default=os.environ.get("STRANGLER_STORE", _USUAL_STORE),
        metavar="URL",
        help="the store of the server on this machine; the token for the command line lies beside it (or "
        f"STRANGLER_STORE; default: {_USUAL_STORE}). A token in STRANGLER_OPS_TOKEN comes first",
    )


def add_why_argument(parser: argparse.ArgumentParser) -> None:
    """Why something is changed."""
    parser.add_argument("--why", required=True, metavar="TEXT", help="why it is done; it stands in the audit log")


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """For programs."""
    parser.add_argument("--json", action="store_true", help="print what the server answers, as JSON")


def add_limit_argument(parser: argparse.ArgumentParser, most: int | None) -> None:
    """How many of a list; ``most``: of one page, None: as many as there are."""
    told = f"1 to {most}, default 50)" if most is not None else "default 50); 0: all"
    parser.add_argument("--limit", type=_count(most), default=50, metavar="N", help=f"so many ({told}")


def _count(most: int | None) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or (most is not None and not 1 <= int(text) <= most):
            raise argparse.ArgumentTypeError(
                f"expected a whole number{'' if most is None else f' from 1 to {most}'}, found {text!r}"
            )
        return int(text)

    return count


class Ops:
    """A server's operations listener, as the flags say.

    Raises:
        OperatorError: the flags name no place, or a store that nobody serves; the token of the environment is none.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        written = _pass_beside(arguments.store)
        if written is None and not arguments.ops and arguments.store != _USUAL_STORE:
            # Whoever names a store means the server over it, and not the one that happens to be at the usual place.
            _require_served(arguments.store)
        self._place = parse_place(arguments.ops or (written.ops if written is not None else _USUAL))
        token = _given_token()
        self._store = arguments.store
        self._given = bool(token)
        # The token of this machine goes to nobody but who wrote it down, or is on this machine too.
        here = bool(self._place.path) or self._place.host in ("127.0.0.1", "::1", "localhost")
        same = written is not None and parse_place(written.ops) == self._place
        self._token = token or (written.token if written is not None and (here or same) else None)

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """What a path answers.

        Raises:
            AskFailed: it refused, or nobody answers.
        """
        with self._asked("GET", _with_query(path, query), None) as response:
            return self._document(response)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What a change answers; members that are None are left out.

        Raises:
            AskRefused: it refused this one; `AskedWrongly`, where nothing can be made of it.
            AskFailed: it refused, or nobody answers.
        """
        given = {name: value for name, value in body.items() if value is not None}
        with self._asked("POST", path, json.dumps(given).encode()) as response:
            return self._document(response)

    def pieces(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[bytes]:
        """A long answer, piece by piece.

        Raises:
            AskFailed: it refused, nobody answers, or it broke off.
        """
        with self._asked("GET", _with_query(path, query), None) as response:
            try:
                while piece := response.read1(_PIECE):
                    yield piece
            except (OSError, http.client.HTTPException):
                raise AskFailed(f"{self._place} broke off in the middle: what came is not all") from None

    @contextmanager
    def _asked(self, method: str, target: str, body: bytes | None) -> Iterator[http.client.HTTPResponse]:
        connection = _connection(self._place)
        try:
            connection.request(method, target, body, self._headers(body))
            response = connection.getresponse()
            if response.status >= 300:
                raise _refusal(response.status)(self._refused(response))
            yield response
        except (OSError, http.client.HTTPException) as error:
            raise AskFailed(self._unreached(error)) from error
        finally:
            connection.close()

    def _headers(self, body: bytes | None) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
            if name := person():
                headers["Strangler-Operator"] = name
        return headers

    def _refused(self, response: http.client.HTTPResponse) -> str:
        data = response.read()
        try:
            document = json.loads(data)
            code, detail = document["code"], document["detail"]
        except (ValueError, KeyError, TypeError):
            return self._stranger(response.status)
        lines = [f"{code}: {detail}"]
        more = [error for error in document.get("errors", ()) if error["detail"] not in detail]
        lines += [f"  {error.get('pointer', '')} {error['detail']}".rstrip() for error in more]
        if code == "unauthenticated":
            lines.append(_where_tokens_are(self._store) if self._token is None else self._whose_token())
        return "\n".join(lines)

    def _whose_token(self) -> str:
        if self._given:
            return "STRANGLER_OPS_TOKEN was sent, and it is none of this server's tokens"
        return (
            f"What was sent is the token beside {self._store}, of another server or of an earlier start: name "
            "the store of this one with --store, or give a token in STRANGLER_OPS_TOKEN"
        )

    def _document(self, response: http.client.HTTPResponse) -> Any:
        def made(members: dict[str, Any]) -> _Object:
            return _Object(members, lambda name: self._stranger(response.status, f" without {name!r}"))

        try:
            document = json.loads(response.read(), object_hook=made)
        except ValueError:
            raise AskFailed(self._stranger(response.status)) from None
        if not isinstance(document, _Object):
            raise AskFailed(self._stranger(response.status, ", and JSON of something else"))
        return document

    def _stranger(self, status: int, how: str = ", and no JSON") -> str:
        return f"{self._place} answered {status}{how}; is it the operations listener of strangler?"

    def _unreached(self, error: Exception) -> str:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        return (
            f"nobody answers at {self._place}: {reason}\n"
            "Does the server run? `--ops` (or STRANGLER_OPS) says where its operations listen"
        )


class _Object(dict[str, Any]):
    """An object of an answer. Whoever reads a member that it lacks is told who may have answered.

    Args:
        stranger: says it, by the name of the member.
    """

    def __init__(self, members: Mapping[str, Any], stranger: Callable[[str], str]) -> None:
        super().__init__(members)
        self._stranger = stranger

    def __missing__(self, name: str) -> Any:
        raise AskFailed(self._stranger(name))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _refusal(status: int) -> type[AskFailed]:
    if status == 400:
        return AskedWrongly
    return AskRefused if status in _ABOUT_THIS_ONE else AskFailed


def _connection(place: Place) -> http.client.HTTPConnection:
    if place.path:
        return _UnixConnection(place.path, _TIMEOUT)
    if place.tls:
        return http.client.HTTPSConnection(place.host, place.port, timeout=_TIMEOUT)
    return http.client.HTTPConnection(place.host, place.port, timeout=_TIMEOUT)


def _given_token() -> str:
    """The token of the environment, without the white space around it that a file ends in; nothing: there is none."""
    token = os.environ.get("STRANGLER_OPS_TOKEN", "").strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise OperatorError("STRANGLER_OPS_TOKEN: expected visible ASCII characters; what it holds is not shown")
    return token


def parse_place(text: str) -> Place:
    """Where operations listen, from what a flag says.

    Raises:
        OperatorError: it says no place.
    """
    if text.startswith("unix:/"):
        path = text.removeprefix("unix:")
        if not is_socket_path(path):
            raise OperatorError(
                f"--ops: expected the path of a socket, which has at most {MAX_SOCKET_PATH} bytes, found {path}"
            )
        return Place(path=path)
    parts = web_url(text if "://" in text else f"http://{text}")
    plain = parts is not None and "@" not in parts.netloc and not parts.path.strip("/") and not parts.query
    if parts is None or not plain or not text.isprintable():
        raise OperatorError(f"--ops: expected http://host:port, host:port or unix:/path, found {text!r}")
    host = parts.hostname or ""
    usual = 443 if parts.scheme == "https" else 9901
    return Place(_LOOPBACK.get(host, host), parts.port or usual, tls=parts.scheme == "https")


def _where_tokens_are(store: str) -> str:
    if store_path(store) is None:
        return "Give a token in STRANGLER_OPS_TOKEN; beside a store in memory there is none"
    return (
        "Give a token in STRANGLER_OPS_TOKEN, or on the server's machine name its store with --store: the token lies "
        f"beside it (looked for beside {store})"
    )


def _require_served(store: str) -> None:
    """Nothing is written down beside a store: one with a file is served by nobody.

    Raises:
        OperatorError: it has a file.
    """
    path = store_path(store)
    if path is not None:
        raise OperatorError(
            f"--store: nobody serves {store}, as far as can be read here: there is no {pass_path(path).name} beside "
            "it, in which a server writes where its operations listen. Say with --ops whom to ask"
        )


def _pass_beside(store: str) -> Pass | None:
    path = store_path(store)
    if path is None:
        return None
    try:
        found = json.loads(Path(pass_path(path)).read_text("ascii"))
        return Pass(found["token"], found["ops"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def person() -> str | None:
    """Who sits here, as the system calls them."""
    name = os.environ.get("SUDO_USER")
    if name is None:
        try:
            name = getpass.getuser()
        except (OSError, KeyError):
            return None
    return name if name.isascii() and name.isprintable() else None


def _with_query(path: str, query: Mapping[str, Any] | None) -> str:
    given = [(name, _sound(str(value))) for name, value in (query or {}).items() if value is not None]
    return f"{path}?{urlencode(given)}" if given else path


def process_id(text: str) -> str:
    """A process id, also from the URL of a process or of what is under it."""
    found = ID.findall(text)
    return found[-1] if found else text


def segment(text: str) -> str:
    """A value as one segment of a path.

    Raises:
        OperatorError: it is not text.
    """
    return quote(_sound(text), safe="")


def _sound(text: str) -> str:
    # Octets of an argument that are not UTF-8 reach Python as lone surrogates (PEP 383), which no URL can hold.
    if not is_text(text):
        raise OperatorError(f"an argument is not UTF-8: {text!r}")
    return text
