"""What a route says about translating, and about the meaning of replies: the wall behind which legacy words stay.

Plain values, as they are promised with a process: texts of expressions, and the content of files. They are compiled in
`translate` and `conditions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from strangler.domain.process import Effect

Format = Literal["json", "xml", "soap", "form", "text"]
SoapVersion = Literal["1.1", "1.2"]
RuleState = Literal["completed", "rejected", "failed", "retry", "pending", "in_doubt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """An expression, or a function of Python in its place; exactly one of the two."""

    text: str = ""  # JMESPath
    python: str = ""  # "package.module:function"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """How a body is read."""

    format: Format | None = None  # None: as its Content-Type says
    charset: str | None = None  # None: as it says itself
    lists: tuple[str, ...] = ()  # XML elements that are lists even where there is one
    namespaces: Mapping[str, str] = field(default_factory=dict)  # prefix to namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """How a body is made."""

    body: Formula | None = None
    format: Format = "json"
    template: str | None = None  # the text of the file, in place of `body`
    charset: str = "utf-8"
    namespaces: Mapping[str, str] = field(default_factory=dict)  # declared by the root element or the envelope
    soap_version: SoapVersion = "1.1"
    soap_action: str = ""
    soap_header: Formula | None = None

    @property
    def makes(self) -> bool:
        """Whether there is a body to be made; else the one that came stays."""
        return self.body is not None or self.template is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTranslation:
    """What goes upstream in place of what the client sent."""

    source: Source = field(default_factory=Source)
    content: Content = field(default_factory=Content)
    set_headers: tuple[tuple[str, str], ...] = ()  # values are templates
    remove_headers: tuple[str, ...] = ()  # lower case
    path: str | None = None  # a template; with a query, if it has one
    method: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Which replies a rule is for. Empty means all, in each part."""

    statuses: tuple[tuple[int, int], ...] = ()  # from, to, both included
    headers: Mapping[str, str] = field(default_factory=dict)  # lower-case names to terms, exact or with *
    body: Formula | None = None  # over the body of the reply


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseTranslation:
    """What the client gets in place of what the upstream replied."""

    when: Condition = field(default_factory=Condition)
    content: Content = field(default_factory=Content)
    status: int | str | None = None  # an expression where it is text
    set_headers: tuple[tuple[str, str], ...] = ()
    remove_headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRule:
    """What a reply means."""

    when: Condition
    state: RuleState
    status: str | None = None
    reason: Formula | None = None
    effect: Effect | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wall:
    """All of it for one route. A route without is as it is: nothing is looked into."""

    paths: tuple[str, ...]  # of the route, for the parameters of `path`
    request: RequestTranslation | None = None
    reply_source: Source = field(default_factory=Source)
    responses: tuple[ResponseTranslation, ...] = ()
    outcome: tuple[OutcomeRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorForm:
    """In which form our own errors reach a route's clients."""

    kind: Literal["soap11", "soap12", "text", "template"]
    template: str = ""
    media_type: str = ""  # of the template
