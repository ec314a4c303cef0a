"""A part of a policy file that is being read: its values with all defaults, and where to complain."""

from __future__ import annotations

from typing import Any, NamedTuple

from strangler.config.files import Reading
from strangler.config.located import KeyPath, Level, Node, Report


class Section(NamedTuple):
    """One upstream or one route."""

    node: Node  # as written, with route_defaults merged in
    path: KeyPath  # routes, 0
    values: dict[str, Any]  # plain, with the schema's defaults
    report: Report

    def complain(self, keys: KeyPath, text: str, level: Level = "error") -> None:
        """Tell of something at a key below this part; where the key is absent, at the innermost that is there."""
        place = self.node
        for step in keys:
            below = place.at((step,))
            if below is place:
                self.report.add(place.named_at, (*self.path, *keys), text, level)
                return
            place = below
        if place.secret:
            text = "the secret that stands here is not what is expected"  # the text might quote it
        self.report.add(place.place, (*self.path, *keys), text, level)

    def given(self, *keys: str) -> bool:
        """Whether a key was written, rather than left to its default."""
        node = self.node
        for key in keys:
            if not isinstance(node.value, dict) or key not in node.value:
                return False
            node = node.value[key]
        return True


class Context(NamedTuple):
    """What reading a section may need beyond it."""

    reading: Reading
    offline: bool
    lease: float  # seconds
    public_url: bool = False  # whether there is one for all routes
