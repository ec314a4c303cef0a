"""Whether a regular expression can be trusted with a client's text: Python's matcher backtracks.

What is refused: back references, lookaround with repeats in it, conditionals; a repeat within a repeat, unless each
round of the outer one begins or ends with a character that no inner one can take, as in ``(-[a-z]+)*``, and no two
inner ones can take the same; a repeat of alternatives that can begin alike, such as ``(a|ab)*``; more than two long
repeats that can take the same characters with nothing between to part them, such as ``.*.*.*x``. What is left takes
at most about the square of a text's length; who matches bounds that length.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

_MAX_PATTERN = 2000  # characters
_LATIN = frozenset(range(256))
_BEYOND = frozenset({0x100, 0x663, 0x2003, 0x2192})  # a letter, digit, space and sign stand for all beyond Latin-1
_ALL = _LATIN | _BEYOND
_FEW = 2  # rounds of a repeat, or overlapping repeats, that are no danger
_LONG = 16  # rounds from which on a repeat counts as long

Characters = frozenset[int]
Item = tuple[Any, Any]


def why_not(pattern: str) -> str | None:
    """Why a pattern is not trusted; None: it is."""
    if len(pattern) > _MAX_PATTERN:
        return f"longer than {_MAX_PATTERN} characters"
    try:
        re.compile(pattern)
        # The parser of the standard library; since 3.11 under this name only.
        tree = importlib.import_module("re._parser").parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return f"not a regular expression: {error}"
    if tree.state.flags != re.UNICODE or any(_flagged(tree)):
        return "flags within a pattern, which ECMA 262 does not have"
    if reason := _danger(tree):
        return reason
    most = max(_overlapping(tree).values(), default=0)
    return "too many repeats that can take the same characters" if most > _FEW else None


def _flagged(items: Sequence[Item]) -> Iterator[bool]:
    """For each group at any depth, whether it changes flags: what a character can be would then not be seen here."""
    for item in items:
        if _name(item) == "SUBPATTERN":
            yield bool(item[1][1] or item[1][2])
        for inner in _inside(item):
            yield from _flagged(inner)


def _danger(items: Sequence[Item]) -> str | None:
    for item in items:
        kind, argument = _name(item), item[1]
        if kind in ("GROUPREF", "GROUPREF_EXISTS"):
            return "a back reference"
        if kind in ("ASSERT", "ASSERT_NOT") and any(_repeats(argument[1])):
            return "lookaround with a repeat in it"
        if kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            _, most, body = argument
            if int(most) > _FEW and (reason := _repeat_danger(body)):
                return reason
        for inner in _inside(item):
            if reason := _danger(inner):
                return reason
    return None


def _repeat_danger(body: Sequence[Item]) -> str | None:
    """Why a body may not be repeated: its rounds can be cut in more than one way."""
    for alternatives in _branches(body):
        taken: set[int] = set()
        for alternative in alternatives:
            first = _first(alternative)
            if taken & first:
                return "a repeat of alternatives that can begin alike"
            taken |= first
    inner = list(_repeats(body))
    if not inner:
        return None
    takes: Characters = frozenset()
    for repeated in inner:
        more = _anywhere(repeated)
        if takes & more:
            return "a repeat of repeats that can take the same characters"
        takes |= more
    for part in _sides(body):
        if part is not None and not part & takes:
            return None
    return "a repeat within a repeat"


def _overlapping(items: Sequence[Item]) -> Counter[int]:
    """For each character the largest number of long repeats that can take a run of it between them."""
    now: Counter[int] = Counter()
    largest: Counter[int] = Counter()
    for item in items:
        characters = _characters(item)
        if characters is not None:
            largest |= now
            now = Counter({code: number for code, number in now.items() if code in characters})
        elif _name(item) in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") and int(item[1][1]) > _LONG:
            now += Counter(dict.fromkeys(_anywhere(item[1][2]), 1))
        else:
            rounds = int(item[1][1]) if "REPEAT" in _name(item) else 1
            within: Counter[int] = Counter()
            for inner in _inside(item):
                within |= _overlapping(inner)
            now += Counter({code: number * rounds for code, number in within.items()})
    return largest | now


def _sides(body: Sequence[Item]) -> Iterator[Characters | None]:
    """What the single character at the begin, and at the end, of every round can be; None: it is not a single one."""
    flat = _unwrapped(body)
    for item in (flat[0], flat[-1]) if flat else ():
        yield _characters(item)


def _unwrapped(body: Sequence[Item]) -> Sequence[Item]:
    """A body without the groups that hold all of it."""
    while len(body) == 1 and _name(body[0]) in ("SUBPATTERN", "ATOMIC_GROUP"):
        argument = body[0][1]
        body = argument[-1] if _name(body[0]) == "SUBPATTERN" else argument
    return body


def _repeats(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The bodies of all repeats of varying length, at any depth."""
    for item in items:
        if _name(item) in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, most, body = item[1]
            if int(least) != int(most):
                yield body
        for inner in _inside(item):
            yield from _repeats(inner)


def _branches(items: Sequence[Item]) -> Iterator[Sequence[Sequence[Item]]]:
    for item in items:
        if _name(item) == "BRANCH":
            yield item[1][1]
        for inner in _inside(item):
            yield from _branches(inner)


def _inside(item: Item) -> Iterator[Sequence[Item]]:
    """The sequences that an item holds."""
    kind, argument = _name(item), item[1]
    if kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        yield argument[2]
    elif kind == "SUBPATTERN":
        yield argument[-1]
    elif kind == "ATOMIC_GROUP":
        yield argument
    elif kind in ("ASSERT", "ASSERT_NOT"):
        yield argument[1]
    elif kind == "BRANCH":
        yield from argument[1]


def _first(items: Sequence[Item]) -> Characters:
    """What a sequence can begin with; everything, where it can be empty."""
    for item in items:
        if _name(item) in ("AT", "ASSERT", "ASSERT_NOT"):
            continue  # takes no character
        characters = _characters(item)
        if characters is not None:
            return characters
        if _name(item) in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            return _first(item[1][2]) if int(item[1][0]) > 0 else _ALL
        inner = list(_inside(item))
        return frozenset[int]().union(*(_first(part) for part in inner)) if inner else _ALL
    return _ALL


def _anywhere(items: Sequence[Item]) -> Characters:
    """All characters that a sequence can hold."""
    found: Characters = frozenset()
    for item in items:
        characters = _characters(item)
        found |= characters if characters is not None else frozenset()
        for inner in _inside(item):
            found |= _anywhere(inner)
    return found


def _characters(item: Item) -> Characters | None:
    """What an item of exactly one character can be; None: it is another kind of item."""
    kind, argument = _name(item), item[1]
    match kind:
        case "LITERAL":
            return _literal(argument)
        case "NOT_LITERAL":
            return _ALL - (_literal(argument) & _LATIN)
        case "ANY":
            return _ALL
        case "IN":
            negated = bool(argument) and _name(argument[0]) == "NEGATE"
            found: Characters = frozenset()
            for member in argument:
                members = _members(member)
                # A set without one character beyond Latin-1 still holds others of its kind.
                found |= members & _LATIN if negated and _name(member) != "CATEGORY" else members
            return _ALL - found if negated else found
    return None


def _literal(code: int) -> Characters:
    return frozenset({code}) if code in _LATIN else _BEYOND


def _members(member: Item) -> Characters:
    kind, argument = _name(member), member[1]
    match kind:
        case "LITERAL":
            return _literal(argument)
        case "RANGE":
            low, high = argument
            return frozenset(range(low, min(high, 255) + 1)) | (_BEYOND if high > 255 else frozenset())
        case "CATEGORY":
            tester = re.compile(_CATEGORIES[str(argument)])
            return frozenset(code for code in _ALL if tester.match(chr(code)))
    return frozenset()


_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}


def _name(item: Item) -> str:
    return str(item[0])
