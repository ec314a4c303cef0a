"""The end of a body that comes piece by piece, told along with its last piece."""

from __future__ import annotations


class LastPiece(bytes):
    """A piece of an iterated body after which none comes: the end of the body can be sent along with it."""
