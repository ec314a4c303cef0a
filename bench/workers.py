"""Two workers against one, on all cores, beside the load."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from bench.accepts import checked
from bench.load import Seen
from bench.report import Pair, Row, Settings, compared
from bench.subject import Strangler, directory, submission, upstream
from bench.wrk import press


def workers(settings: Settings) -> list[Row]:
    """`--workers 2` against `--workers 1`, both free to run on any core, with the load and the upstream on the last."""
    return [
        _row(settings, "passthrough, 64 connections", "0", "200", 1.1, lambda one: press(one, settings.seconds)),
        _row(
            settings,
            "accepts, 256 connections",
            "never",
            "202",
            1.0,
            lambda one: one.load([submission()], connections=256, seconds=settings.seconds),
        ),
    ]


def _row(
    settings: Settings, what: str, hold: str, status: str, target: float, load: Callable[[Strangler], Seen]
) -> Row:
    pair = Pair()
    with ExitStack() as stack:
        legacy = stack.enter_context(upstream(hold))
        one, two = (
            stack.enter_context(Strangler(stack.enter_context(directory()), legacy.port, workers=number, core=None))
            for number in (1, 2)
        )
        for _ in range(settings.rounds):
            pair.add(checked(load(two), status), checked(load(one), status))
    return compared(what, pair.ours, pair.theirs, target, "")
