"""What operators look for: the rules that all stores share.

A process is found by what people know of it. What names many (a route, a state, a day) is looked for by walking the
processes from the newest on; what names few has a *term*: 64 bits of a digest, in an index that is written only where
there is such a term. A correlation id that we made up says when, which is as good as an index.
"""

from __future__ import annotations

import hashlib
import json
import re
import string

from strangler.domain.process import Process, is_id
from strangler.domain.transitions import Change
from strangler.ports import AuditQuery, Recorded, Search
from strangler.store.ids import first_id, id_time, time_digits, time_of
from strangler.store.listing import bears

HOUR = 22
"""Bits of milliseconds, 70 minutes: a part of the index of terms."""

_OURS = re.compile(r"[0-9a-f]{32}")
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


# ── Terms ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def terms_of(process: Process) -> set[int]:
    """By which terms a process is to be found."""
    found = set(reference_terms(process.business_references))
    if not process.correlation_id.startswith(time_digits(process.id)) or not _OURS.fullmatch(process.correlation_id):
        found.add(term("correlation", process.correlation_id))
    if process.key is not None:
        found.add(term("key", process.key))
    if process.parent_id is not None:
        found.add(term("parent", process.parent_id))
    return found


def new_terms(change: Change) -> set[int]:
    """By which terms a process is to be found since a change."""
    before, process = change.before, change.process
    if before is None:
        return terms_of(process)
    if process.business_references == before.business_references:
        return set()
    return reference_terms(process.business_references) - reference_terms(before.business_references)


def reference_terms(references: str | None) -> set[int]:
    """The terms of business references, JSON: {name: text}."""
    if references is None:
        return set()
    return {term("reference", text) for text in json.loads(references).values()}


def searched_term(search: Search) -> int | None:
    """The term that a search is for; None: it has none."""
    if search.parent_id is not None:
        return term("parent", search.parent_id)
    if search.key is not None:
        return term("key", search.key)
    if search.reference is not None:
        return term("reference", search.reference[1])
    if search.correlation_id is not None:
        return term("correlation", search.correlation_id)
    return None


def term(kind: str, text: str) -> int:
    """64 bits of the digest of a term, as SQLite holds an integer."""
    data = f"{kind}\0{text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big", signed=True)


def made_at(correlation_id: str) -> int | None:
    """When a correlation id says that it was made, if it may be one of ours."""
    return id_time(bytes.fromhex(correlation_id)) if _OURS.fullmatch(correlation_id) else None


def hour_of(instant: int) -> int:
    """The part of the index that a process of an instant stands in."""
    return instant >> HOUR


def first_of(hour: int) -> bytes:
    """The first id of a part of the index."""
    return first_id(hour << HOUR)


# ── What belongs into a list ─────────────────────────────────────────────────────────────────────────────────────────


def sought(process: Process, search: Search) -> bool:
    """Whether a process is one of those that are looked for."""
    at = time_of(process.id)
    return (
        (search.before_id is None or (is_id(search.before_id) and process.id < search.before_id))
        and (search.created_after is None or at >= search.created_after)
        and (search.created_before is None or at < search.created_before)
        and (not search.states or _in_states(process, search))
        and (search.status is None or bears(process, search.status, search.status_means))
        and (search.route is None or process.route == search.route)
        and (search.caller_name is None or process.caller_name == search.caller_name)
        and (search.reference is None or _refers(process, *search.reference))
        and (search.correlation_id is None or process.correlation_id == search.correlation_id)
        and (search.key is None or process.key == search.key)
        and (search.parent_id is None or process.parent_id == search.parent_id)
        and (search.text is None or lower(search.text) in lower(process.reason or ""))
    )


def lower(text: str) -> str:
    """ASCII letters in lower case, and no others, as SQLite does it."""
    return text.translate(_LOWER)


def _in_states(process: Process, search: Search) -> bool:
    return any(process.state is state and settling in (None, process.settling) for state, settling in search.states)


def _refers(process: Process, name: str | None, text: str) -> bool:
    references = json.loads(process.business_references or "{}")
    return references.get(name) == text if name is not None else text in references.values()


def commanded(recorded: Recorded, query: AuditQuery) -> bool:
    """Whether a command belongs into a list."""
    command = recorded.command
    return (
        (query.before is None or recorded.number < query.before)
        and (query.who is None or command.who == query.who)
        and (query.what is None or command.what == query.what)
        and (query.process_id is None or command.process_id == query.process_id)
    )
