"""The one way in which a message is refused."""

from __future__ import annotations

from collections.abc import Sequence


class Malformed(Exception):
    """A message breaks the grammar of HTTP, or can be read in two ways.

    ``code`` is a name from `strangler.domain.problem.TITLES`, ``detail`` a sentence for whoever sent it, ``target``
    what path was asked for and ``headers`` the fields, where that much could be read.
    """

    def __init__(self, code: str, detail: str, target: bytes | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.target = target
        self.headers: Sequence[tuple[bytes, bytes]] = ()


def bad(detail: str) -> Malformed:
    """It is not well formed."""
    return Malformed("bad-request", detail)
