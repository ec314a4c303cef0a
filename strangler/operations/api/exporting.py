"""Lists of processes to take away, page by page, however long they are."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from strangler.domain.process import Process
from strangler.operations.api import views
from strangler.policy.model import Promise
from strangler.ports import Desk, Search

PromiseOf = Callable[[str], Promise | None]

_PAGE = 200  # processes of one step
COLUMNS = (
    *("id", "route", "type", "state", "status", "reason", "effect", "method", "createdAt", "updatedAt", "finishedAt"),
    *("correlationId", "idempotencyKey", "callerName", "references", "attempts", "resultStatus", "parentId"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


async def _found(search: Search, desk: Desk) -> AsyncIterator[Process]:
    """All that a search finds, page by page."""
    wish: Search | None = search._replace(limit=_PAGE)
    while wish is not None:
        page = await desk.search(wish)
        for process in page.processes:
            yield process
        wish = None if page.before_id is None else wish._replace(before_id=page.before_id)


async def as_lines(search: Search, desk: Desk, promise_of: PromiseOf) -> AsyncIterator[bytes]:
    """One JSON object per line, as in a list."""
    lines: list[str] = []
    async for process in _found(search, desk):
        document = views.summary(process, promise_of(process.promise))
        lines.append(json.dumps(document, ensure_ascii=False, separators=(",", ":")))
        if len(lines) == _PAGE:
            yield ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
            lines.clear()
    if lines:
        yield ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


async def as_csv(search: Search, desk: Desk, promise_of: PromiseOf) -> AsyncIterator[bytes]:
    """A head and a line for each."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    rows = 0
    async for process in _found(search, desk):
        document = views.summary(process, promise_of(process.promise))
        writer.writerow([_cell(document.get(name)) for name in COLUMNS])
        rows += 1
        if rows % _PAGE == 0:
            yield buffer.getvalue().encode("utf-8", "backslashreplace")
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any) -> Any:
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    # What clients and legacy systems wrote must not run in somebody's spreadsheet.
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
