"""What a dialect says of a process; without a word of its own, it is RFC 9110's: 202 and a place to look, then 303."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from strangler.domain.exchange import Header, Request
from strangler.domain.process import Process
from strangler.engine.document import process_url
from strangler.policy.model import ProcessPolicy


class Standing(NamedTuple):
    """How it stands with a process: what ``GET R/{id}`` and, for a new one, its acceptance answer beside a document."""

    status: int
    headers: tuple[Header, ...]


class Contract(ABC):
    """One dialect. It says how a process looks; what is true of it, who may see it and when is not its affair."""

    name: str  # as `process.contract` and the entity tag have it
    taken: tuple[str, ...] = ()  # headers that its clients send beside those of every contract, for CORS
    shown: tuple[str, ...] = ()  # headers that its clients read beside those of every contract, for CORS

    @abstractmethod
    def document(self, process: Process, policy: ProcessPolicy, *, may_cancel: bool, history: bool = True) -> bytes:
        """The process as JSON. ``may_cancel``: whether who reads it may cancel; ``history``: whether that is kept."""

    def accepted(self, process: Process) -> Standing:
        """How a client is told that its request became a process, and where it finds it."""
        url = process_url(process).encode()
        return Standing(202, ((b"Location", url), (b"Link", b'<%b/status>; rel="monitor"' % url)))

    def standing(self, process: Process) -> Standing:
        """What the process resource itself answers."""
        url = process_url(process).encode()
        if process.final:
            return Standing(303, ((b"Location", url + b"/result"),))
        return Standing(202, ((b"Location", url),))

    def echoed(self, request: Request) -> tuple[Header, ...]:
        """Fields of a request that its clients expect to come back."""
        return ()

    def tag(self, process: Process) -> bytes:
        """The weak entity tag of the document: the version, and the representation that it is in."""
        return f'W/"{process.version}-{self.name}"'.encode()
