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


class Validity:
    """Whether the table that a direction was taken from is still in force."""

    __slots__ = ("over",)

    def __init__(self) -> None:
        self.over = False


class Passthrough(NamedTuple):
    """It goes through untouched."""

    upstream: Upstream
    rewrite: Rewrite
    route: str  # its name in metrics; "default" for the default
    add_headers: tuple[Header, ...] = ()  # to the reply, named by the policy (`deprecation`)
    validity: Validity | None = None  # until it is over all requests with the same head go this way; None: not all do


Respond = Callable[[Request], Awaitable[Answer | PassOn | Upgrade]]
"""Answers a request. Runs in a task of its own, and is cancelled when the client leaves, at whatever it awaits then:
what must go on, goes on in a task of the handler's making. A read of the body that is under way raises `ClientGone`
instead. `BodyTimeout` and `BadBody` are its own to answer. But for `ClientGone`, whatever it raises is a defect, and
the client gets 500."""

Said = Callable[[], Answer | Respond]
"""Makes the answer to a request that was begun; or yields whoever makes it."""

Begin = Callable[[Request, bytes, Callable[[Said], None]], bool]
"""Begins at once with a request whose whole body is there, and tells once, later, what is said to it: all that a task
would cost is spared. False: nothing was begun, and `Respond` is to be asked. A client that leaves changes nothing, and
then nothing is said."""


class Handle(NamedTuple):
    """It is ours, or is going to be recorded."""

    respond: Respond
    passthrough: Passthrough | None = None  # where it goes if the handler says `PassOn`
    route: str = ""  # its name in metrics; empty for process resources
    begin: Begin | None = None  # asked first, where it can be


Direction = Passthrough | Handle | Answer

Direct = Callable[[Request], Direction]
"""Which way a request goes; asked once, when its head is parsed. Never blocks."""
