"""The number of a recorded reply, under which its body lies: that of its attempt; for what a look brought, one that no
other look has.
"""

from __future__ import annotations

_ATTEMPTS = 1 << 20
_LOOKS = 1 << 40


def number_of_look(attempt: int, fresh: str) -> int:
    """A number that no other look has: nothing keeps two workers from looking at once, and what one brings must not
    fall among what the other brings, or has committed.

    Args:
        attempt: that the look is about.
        fresh: a name in hexadecimal digits that nothing else has.
    """
    return attempt + _ATTEMPTS * (1 + int(fresh, 16) % _LOOKS)


def attempt_of(number: int) -> int:
    """The attempt that a reply is about."""
    return number % _ATTEMPTS
