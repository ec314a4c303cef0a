"""The garbage collector: how often it looks for cycles."""

from __future__ import annotations

import gc


def calm_collector() -> None:
    """Look for garbage cycles less often, and never again among what lives as long as the program.

    A request leaves next to no cycles, but allocates enough for the usual thresholds to walk all that is in flight many
    times a second: with ten thousand processes that was a fifth of the time of an acceptance.
    """
    gc.collect()
    gc.freeze()
    rest_collector()


def rest_collector() -> None:
    """Look for garbage cycles less often.

    A policy of thousands of routes is a million objects that stay and hardly any cycles: with the usual thresholds
    walking them again and again takes half as long as all else of its load.
    """
    gc.set_threshold(20_000, 20, 100)
