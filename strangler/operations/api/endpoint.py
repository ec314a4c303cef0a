"""One endpoint as a value: what it takes, what it answers, who may use it, and the function that does it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from strangler.domain.process import is_id
from strangler.operations.api.schemas import LINE, Schema


class Role(StrEnum):
    """Who may use an endpoint."""

    ANYONE = "anyone"  # whoever reaches the listener
    VIEWER = "viewer"  # reads
    OPERATOR = "operator"  # changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of the query."""

    name: str
    about: str
    schema: Schema
    read: Callable[[str], Any] = str  # raises ValueError, whose text says what was expected
    required: bool = False


class Asked(NamedTuple):
    """A request that passed all checks."""

    path: Mapping[str, str]
    query: Mapping[str, Any]  # as `Parameter.read` reads them; those that were not given are absent
    body: Mapping[str, Any]  # matches the schema; empty where none is taken
    who: str


@dataclass(frozen=True, slots=True)
class Done:
    """It was done, or found."""

    document: Any
    status: int = 200
    note: str | None = None  # for the audit log


@dataclass(frozen=True, slots=True)
class Refusal:
    """It was not; ``name`` is that of a problem."""

    name: str
    detail: str
    errors: Sequence[dict[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Stream:
    """What is long, piece by piece."""

    media_type: str
    pieces: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Text:
    """What is no JSON, as it goes out."""

    media_type: str
    data: bytes


Told = Done | Refusal | Stream | Text
Handle = Callable[[Asked], Awaitable[Told]]


async def about_its_path(asked: Asked) -> str | None:
    """The process whose id is in the path, if one is."""
    found = asked.path.get("id")
    return found if found is not None and is_id(found) else None


class Answered(NamedTuple):
    """What an answer of a status holds."""

    about: str
    schema: Schema | None = None  # None: not JSON
    media_types: Sequence[str] = ("application/json",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One row of the table of all endpoints.

    A changing one (`Role.OPERATOR`) is audited under its name, and asks ``why`` in its body, unless ``asks_why`` is
    False. What every endpoint may refuse for is known to the frame, and not among its ``problems``.
    """

    method: Literal["GET", "POST"]
    path: str  # an OpenAPI template: "/processes/{id}/cancel"
    name: str  # "cancelProcess"
    about: str  # one sentence
    handle: Handle
    role: Role = Role.VIEWER
    parameters: Sequence[Parameter] = ()
    body: Mapping[str, Schema] = field(default_factory=dict)  # members of the JSON object, beside `why`
    required: Sequence[str] = ()  # of these
    answers: Mapping[int, Answered]
    problems: Sequence[str] = ()  # names of problems
    local: bool = False  # from this machine it needs no token, though it changes something
    audited: bool = True  # where it changes something
    # The process that a change is about, for the audit log; may raise StoreUnavailable.
    about_process: Callable[[Asked], Awaitable[str | None]] = about_its_path
    kept_apart: Sequence[str] = ()  # members of the body that are kept with what they tell of, and go with it
    asks_why: bool = True  # likewise
    needs_record: bool = True  # it is not done while the store cannot record it; else the log has to do
    group: str = "processes"  # under which it is shown

    @property
    def changes(self) -> bool:
        """Whether it changes something."""
        return self.role is Role.OPERATOR

    @property
    def takes_body(self) -> bool:
        """Whether a JSON body is expected."""
        return bool(self.body) or (self.changes and self.asks_why)

    def body_schema(self) -> Schema:
        """The schema of its body."""
        members = dict(self.body)
        required = list(self.required)
        if self.changes and self.asks_why:
            members["why"] = WHY
            required.append("why")
        return {
            "type": "object",
            "properties": members,
            "required": sorted(required),
            "additionalProperties": False,
        }


WHY: Schema = {**LINE, "description": "Why it is done; it stands in the audit log. Text on one line."}
