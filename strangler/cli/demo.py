"""``strangler demo``: the story, on this machine, with nothing else installed."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from strangler.demo.part import PartFailed
from strangler.demo.screen import Screen
from strangler.demo.stage import Stage
from strangler.demo.story import Story, StoryBroken

_WATCH = 0.5  # seconds


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "demo",
        help="show what it does, with a slow legacy system that comes along",
        description="Starts a slow legacy system and Strangler in front of it, shows what changes, "
        "then stays up to be tried out until Ctrl-C. Needs no root, no compiler and no network.",
    )
    parser.add_argument("--no-wait", action="store_true", help="end after the story")
    parser.add_argument(
        "--speed", type=_speed, default=1.0, metavar="N", help="the legacy system works N times as fast (default 1)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show it. Returns 0, also after Ctrl-C; 1 where something broke."""
    screen = Screen()
    try:
        with Stage(arguments.speed) as stage, _interruptible():
            _introduce(stage, screen)
            with screen.waiting("starting"):
                stage.start()
            Story(stage, screen).tell()
            if not arguments.no_wait:
                _invite(stage, screen)
                while True:
                    stage.check()
                    time.sleep(_WATCH)
    except KeyboardInterrupt:
        screen.line()
        screen.line("  All parts are ended.")
    except (PartFailed, StoryBroken) as error:
        print(f"strangler demo: {error}\nThe logs are kept in {stage.directory}", file=sys.stderr)
        return 1
    return 0


def _introduce(stage: Stage, screen: Screen) -> None:
    screen.line()
    screen.prose("STRANGLER  ·  the truth about slow work")
    screen.prose(
        "An insurer's legacy system that takes 3 to 20 seconds for a claim, Strangler in front of it, and their "
        "clients. All of it runs on this machine, and is gone afterwards."
    )
    if stage.speed != 1:
        screen.prose(f"The legacy system works {stage.speed:g} times as fast here as the text says.")
    for name, value in (
        ("legacy system", stage.legacy_url),
        ("strangler", stage.url),
        ("its operations", stage.operations_url),
        ("route policy", stage.policy),
        ("store and logs", stage.directory),
    ):
        screen.line(f"    {name:<15} {value}")


def _invite(stage: Stage, screen: Screen) -> None:
    screen.heading("Now you")
    screen.prose("All of it is still up. Try, from another terminal:")
    for purpose, command in attempts(stage.url, stage.operations_url, f"sqlite:///{stage.store}"):
        screen.line(f"  # {purpose}")
        screen.line(f"  {command}")
        screen.line()
    screen.prose(
        f"Change {stage.policy} and see what it does: it is read again within a second. Ctrl-C ends everything."
    )


def attempts(url: str, operations_url: str, store: str) -> list[tuple[str, str]]:
    """What to try, and the command for it."""
    key = "-H 'X-Api-Key: me'"
    claim = '{"policyNumber": "P-1003", "amount": 9000}'
    program = "strangler" if shutil.which("strangler") else f"{sys.executable} -m strangler"
    return [
        (
            "hand in a claim that takes 12 seconds: 202, and a Location",
            f"curl -i {key} -H 'Content-Type: application/json' \\\n    -d '{claim}' {url}/claims",
        ),
        ("your processes; follow the links of one", f"curl {key} {url}/claim-submissions"),
        ("a document as ever: it takes 4 seconds", f"curl -o document.pdf {url}/documents/P-1003"),
        ("the same for who need not wait", f"curl -i -H 'Prefer: respond-async' {url}/documents/P-1003"),
        ("what passes through untouched", f"curl -i {url}/policies/P-1003"),
        ("what the legacy system has registered", f"curl {url}/claims"),
        (
            "what a support agent sees; `processes show ID` tells all of one",
            f"{program} processes list --since 1h --store {store}",
        ),
        ("what is measured", f"curl {operations_url}/metrics"),
    ]


def _speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"expected a number above 0, 1000 at the most, found {text!r}")
    return value


@contextmanager
def _interruptible() -> Iterator[None]:
    """While inside, the usual ways to end a program interrupt it; afterwards nothing disturbs the putting away."""
    ways = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for way in ways:
        signal.signal(way, _interrupt)
    try:
        yield
    finally:
        for way in ways:
            signal.signal(way, signal.SIG_IGN)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
