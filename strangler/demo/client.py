"""The clients of the story: small and plain, as in any language without a library for it."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    reason: str
    headers: Mapping[str, str]  # lower-case names
    body: bytes
    seconds: float  # from connecting to the last byte

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def line(self) -> str:
        """The status line as people write it."""
        return f"{self.status} {self.reason}"

    @property
    def retry_after(self) -> float:
        """Seconds after which it is worth asking again."""
        return float(self.headers.get("retry-after", "1"))


def ask(
    method: str,
    url: str,
    value: object = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> Reply:
    """Send one request on a connection of its own. A ``value`` goes as JSON; ``timeout`` seconds of silence end it.

    Raises:
        TimeoutError: it was silent for so long.
        OSError: the connection failed.
        http.client.HTTPException: it ended in the middle, or was not HTTP.
    """
    parts = urlsplit(url)
    fields = dict(headers or {})
    body = None
    if value is not None:
        body = json.dumps(value).encode()
        fields["Content-Type"] = "application/json"
    began = time.monotonic()
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)) as connection:
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, fields)
        answer = connection.getresponse()
        data = answer.read()
        return Reply(
            answer.status,
            answer.reason,
            {name.lower(): text for name, text in answer.getheaders()},
            data,
            time.monotonic() - began,
        )


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        return ask("GET", url, timeout=5).status == 200
    except (OSError, http.client.HTTPException):
        return False
