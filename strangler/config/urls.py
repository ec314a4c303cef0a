"""What a URL in a policy or behind a flag has to be (RFC 3986 section 3.2), and what the path of a socket."""

from __future__ import annotations

import os
import re
import sys
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

_NAME = re.compile(r"(?=.{1,254}\Z)[\w-]{1,63}(\.[\w-]{1,63})*\.?", re.ASCII)

MAX_SOCKET_PATH = 107 if sys.platform == "linux" else 103
"""Bytes of the path of a Unix socket at most: an address has a fixed size, with a NUL at the end (unix(7))."""


def web_url(text: str) -> SplitResult | None:
    """An absolute URL of http or https taken apart; None: its host, or its port, can be none, or it is of another kind.

    Credentials, query and fragment are for the caller to judge.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    sound = parts.scheme in ("http", "https") and is_host(parts.hostname or "")
    return parts if sound and port != 0 and not parts.netloc.endswith(":") else None


def is_host(name: str) -> bool:
    """Whether a text can be the name of a host, or is an address, without brackets."""
    if ":" not in name:
        return _NAME.fullmatch(name) is not None
    try:
        ip_address(name.replace("%25", "%", 1))
    except ValueError:
        return False
    return True


def is_socket_path(path: str) -> bool:
    """Whether a path is short enough for a Unix socket."""
    return len(os.fsencode(path)) <= MAX_SOCKET_PATH
