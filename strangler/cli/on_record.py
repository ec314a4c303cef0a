"""What the command line does to a store by itself is on record as what a server does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from strangler.cli.asking import person
from strangler.config.scalars import is_text
from strangler.config.system import SystemClock
from strangler.domain.errors import OperatorError, StoreUnavailable
from strangler.operations.api.schemas import is_line
from strangler.operations.api.tokens import LOCAL, named
from strangler.ports import Audit, Command

_Done = TypeVar("_Done")


def said_why(why: str | None) -> str:
    """The reason that ``--why`` gives.

    Raises:
        OperatorError: there is none, or it is not one line of text.
    """
    if why is None:
        raise OperatorError("--why: say why it is done; it stands in the audit log")
    if not (is_text(why) and is_line(why)):
        raise OperatorError("--why: expected text on one line, of at most 1000 characters")
    return why


async def on_record(
    audit: Audit, what: str, subject: str, why: str, act: Callable[[], Awaitable[_Done]], note: Callable[[_Done], str]
) -> _Done:
    """Do something as a server does: on record before it begins, and then what it came to.

    Args:
        what, subject: the name and the path of its endpoint, or what they would be.
        note: what it came to, for people.
    """
    clock, outcome, detail = SystemClock(), "internal-error", None
    number = await audit.begin_command(Command(clock.now(), named(LOCAL, person() or ""), what, subject, why, None))
    try:
        done = await act()
        outcome, detail = "done", note(done)
        return done
    except StoreUnavailable as error:
        outcome, detail = "store-unavailable", str(error)
        raise
    finally:
        await audit.end_command(number, clock.now(), outcome, detail)
