"""The one way in which a message is refused."""

from __future__ import annotations


class Malformed(Exception):
    """A message breaks the grammar of HTTP, or can be read in two ways.

    ``code`` is a name from `strangler.domain.problem.TITLES`, ``detail`` a sentence for whoever sent it, ``target``
    what path was asked for, where that much could be read.
    """

    def __init__(self, code: str, detail: str, target: bytes | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.target = target


def bad(detail: str) -> Malformed:
    """It is not well formed."""
    return Malformed("bad-request", detail)
