"""Which way a request goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from strangler.domain.exchange import (
    Answer,
    Header,
    PassOn,
    Request,
    Upgrade,
)
from strangler.policy.model import Rewrite
from strangler.policy.upstreams import Upstream


class Passthrough(NamedTuple):
    """It goes through untouched."""

    upstream: Upstream
    rewrite: Rewrite
    route: str  # its name in metrics; "default" for the default
    add_headers: tuple[Header, ...] = ()  # to the reply, named by the policy (`deprecation`)


class Handle(NamedTuple):
    """It is ours, or is going to be recorded.

    The handler runs in a task of its own. It is cancelled when the client leaves, at whatever it awaits then: what must
    go on, goes on in a task of the handler's making. A read of the body that is under way raises `ClientGone` instead.
    """

    respond: Callable[[Request], Awaitable[Answer | PassOn | Upgrade]]
    passthrough: Passthrough | None = None  # where it goes if the handler says `PassOn`
    route: str = ""  # its name in metrics; empty for process resources


Direction = Passthrough | Handle | Answer

Direct = Callable[[Request], Direction]
"""Which way a request goes; asked once, when its head is parsed. Never blocks."""
