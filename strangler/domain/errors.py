"""Errors, told apart by whose fault they are.

Expected refusals are values (`Refusal`), mapped to HTTP in one place, ``gateway/problems.py``; these exceptions are for
what interrupts the work in hand.
"""

from __future__ import annotations


class StranglerError(Exception):
    """Base of the errors that this project raises on purpose."""


class StoreUnavailable(StranglerError):
    """The store cannot record right now: the disk is full or failing. Nothing of the commit was kept."""


class OperatorError(StranglerError):
    """A policy, a setting or a file is wrong; its text says where and what was expected."""


class AskFailed(StranglerError):
    """A running server refused what the command line asked for, or nobody answers; the text says what to do next."""


class AskRefused(AskFailed):
    """A running server refused this one thing; the next one may be taken."""


class AskedWrongly(AskRefused):
    """A running server can make nothing of what it was asked: wrong usage."""


class InternalError(StranglerError):
    """A rule of our own was broken: a defect."""


class IllegalTransition(InternalError):
    """A change of state that the table of transitions does not know."""
