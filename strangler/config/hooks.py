"""Functions of Python that a policy names: ``package.module:function``."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from typing import Any

from strangler.policy.expressions import ExpressionError
from strangler.policy.formula import Hook

_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


class NoHook(ExpressionError):
    """There is no such function; the text says why."""


def find_hook(name: str) -> Hook:
    """The function of a name. Its module is looked for where Python looks (``PYTHONPATH``), and imported.

    Raises:
        NoHook: it is no name of one, its module cannot be imported, or it cannot be called with one document.
    """
    if not _NAME.fullmatch(name):
        raise NoHook("expected package.module:function")
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except (Exception, SystemExit) as error:
        # A module of the operator may raise anything while it is imported; one that exits must not end the server.
        raise NoHook(f"{module} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise NoHook(f"there is no function {function} in {module}")
    if inspect.iscoroutinefunction(found):
        raise NoHook(f"{name} is asynchronous; a plain function is expected, which runs in a thread of its own")
    try:
        inspect.signature(found).bind({})
    except (TypeError, ValueError):
        raise NoHook(f"{name} cannot be called with one document") from None
    hook: Hook = found
    return hook


def kept_hook(name: str) -> Hook:
    """The function of a name that was promised earlier; where there is none any more, calling it fails."""
    try:
        return find_hook(name)
    except NoHook as error:
        return _missing(str(error))


def _missing(reason: str) -> Hook:
    def hook(document: Mapping[str, Any]) -> Any:
        raise NoHook(reason)

    return hook
