"""Whether this server takes new work: an operator may say that it does not for a while, as before a maintenance.

It is not ready then, so that nobody is sent here; what is asked for all the same is refused as while draining. What
was accepted goes on, and so does what passes through. A restart begins anew.
"""

from __future__ import annotations

from collections.abc import Callable


class Intake:
    """The say of an operator. ``tell``: told whenever it changes whether it is shut."""

    def __init__(self, tell: Callable[[bool], None] = lambda shut: None) -> None:
        self.shut = False
        self._tell = tell

    def drain(self) -> None:
        """Take nothing new."""
        self._set(True)

    def undrain(self) -> None:
        """Take new work again."""
        self._set(False)

    def _set(self, shut: bool) -> None:
        if shut != self.shut:
            self.shut = shut
            self._tell(shut)
