"""What a client's connection tells of one exchange to whoever serves it."""

from __future__ import annotations

from typing import Protocol

from strangler.wire.malformed import Malformed


class Exchange(Protocol):
    """One request and what becomes of it."""

    def body(self, data: bytes, complete: bool) -> None:
        """More of the request's body: content if the connection decodes it, else as it is framed."""
        ...

    def broken(self, malformed: Malformed) -> None:
        """The framing of the request's body is broken; nothing more comes."""
        ...

    def left(self) -> None:
        """The client closed the connection; nothing can be written."""
        ...

    def overdue(self) -> None:
        """The deadline that the exchange set has passed."""
        ...

    def client_congested(self) -> None:
        """The client is slow to read."""
        ...

    def client_ready(self) -> None:
        """There is room again."""
        ...

    def client_ended(self) -> bool:
        """The client sends nothing more; whether it is still to be served."""
        ...
