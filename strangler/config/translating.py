"""The `translate`, `outcome` and `errors` sections of a route from their checked values."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from typing import Any

from strangler.config.files import why
from strangler.config.hooks import NoHook, find_hook, kept_hook
from strangler.config.located import KeyPath, similar
from strangler.config.paths import build_path
from strangler.config.schema import policy_schema, with_defaults
from strangler.config.section import Context, Section
from strangler.domain.process import Effect
from strangler.policy.charset import codec_of, holds_ascii
from strangler.policy.conditions import Test
from strangler.policy.expressions import (
    RECORDED_NAMES,
    REPLY_NAMES,
    Expression,
    ExpressionError,
    ExpressionSyntaxError,
    Template,
    multiselect,
)
from strangler.policy.own_errors import PROBLEM_NAMES, media_type_of
from strangler.policy.readable import Unparsable
from strangler.policy.translate import Interpreter
from strangler.policy.wall import (
    Condition,
    Content,
    ErrorForm,
    Formula,
    OutcomeRule,
    RequestTranslation,
    ResponseTranslation,
    Source,
    Wall,
)
from strangler.policy.xml_reading import read_xml
from strangler.policy.xml_writing import document, elements, envelope

_MAX_TEMPLATE = 256 * 1024

# A policy that set these would break the framing, or the routing of the reply.
FRAMING = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

HOST_STAYS = "a request without Host is none (RFC 9112 section 3.2); `host_header` says which"

Names = frozenset[str] | None


def build_wall(section: Section, paths: Collection[str], context: Context) -> Interpreter | None:
    """The compiled wall of a route; None where the route has none, or something is wrong with it."""
    before = len(section.report.errors())
    translate = section.values.get("translate")
    outcome = section.values["outcome"]
    if translate is None and not outcome:
        return None
    builder = _Builder(section, context)
    request = builder.request(translate["request"]) if translate and "request" in translate else None
    wall = Wall(
        paths=tuple(paths),
        request=request,
        reply_source=builder.source(("translate", "reply"), (translate or {}).get("reply", {})),
        responses=builder.responses(translate["response"]) if translate and "response" in translate else (),
        outcome=tuple(builder.rule(("outcome", index), rule) for index, rule in enumerate(outcome)),
    )
    if len(section.report.errors()) > before:
        return None
    return Interpreter(wall, kept_hook)


def build_errors(section: Section, context: Context) -> ErrorForm | None:
    """In which form our own errors go out; None: as problem documents."""
    value = section.values["errors"]
    if value == "problem":
        return None
    if value in ("soap11", "soap12", "text"):
        return ErrorForm(kind=value)
    builder = _Builder(section, context)
    kind = media_type_of(value)
    if kind is None:
        meant = similar(value, ("problem", "soap11", "soap12", "text"))
        hint = f"; did you mean {meant}?" if meant else ""
        section.complain(("errors",), f"expected problem, soap11, soap12, text or a file .xml, .html or .txt{hint}")
        return None
    template = builder.file(("errors",), value)
    if template is None or builder.template(("errors",), template, PROBLEM_NAMES) is None:
        return None
    return ErrorForm(kind="template", template=template, media_type=kind)


def build_test(section: Section, context: Context, keys: KeyPath, values: Mapping[str, Any]) -> Test | None:
    """A compiled condition on replies that stands at ``keys``; None: something is wrong with it, or near it."""
    before = len(section.report.errors())
    condition = _Builder(section, context).condition(keys, values)
    if len(section.report.errors()) > before:
        return None
    try:
        return Test(condition, find_hook)
    except ExpressionError:
        return None  # offline, and told of as a note


def build_formula(section: Section, context: Context, keys: KeyPath, value: Any, names: Names) -> Formula | None:
    """An expression, or a function of Python, that stands at ``keys``; ``names``: what it may begin with."""
    return _Builder(section, context).formula(keys, value, names)


class _Builder:
    def __init__(self, section: Section, context: Context) -> None:
        self._section = section
        self._context = context

    def request(self, values: Mapping[str, Any]) -> RequestTranslation:
        keys: KeyPath = ("translate", "request")
        path = values.get("path")
        if path is not None:
            build_path(self._section, (*keys, "path"), path, RECORDED_NAMES)
        for index, term in enumerate(values["headers"]["remove"]):
            if term.lower() == "host":
                self._section.complain((*keys, "headers", "remove", index), HOST_STAYS)
        return RequestTranslation(
            source=self.source((*keys, "source"), values["source"]),
            content=self._content(keys, values, RECORDED_NAMES),
            set_headers=self._set_headers(keys, values, RECORDED_NAMES),
            remove_headers=tuple(term.lower() for term in values["headers"]["remove"]),
            path=path,
            method=values.get("method"),
        )

    def responses(self, values: Any) -> tuple[ResponseTranslation, ...]:
        schema = policy_schema()["$defs"]["translate_response"]
        if isinstance(values, list):
            return tuple(
                self._response(("translate", "response", index), with_defaults(each, schema))
                for index, each in enumerate(values)
            )
        return (self._response(("translate", "response"), with_defaults(values, schema)),)

    def _response(self, keys: KeyPath, values: Mapping[str, Any]) -> ResponseTranslation:
        status = values.get("status")
        if isinstance(status, str):
            self._compiled((*keys, "status"), lambda: Expression(status, REPLY_NAMES))
        return ResponseTranslation(
            when=self.condition((*keys, "when"), values["when"]),
            content=self._content(keys, values, REPLY_NAMES),
            status=status,
            set_headers=self._set_headers(keys, values, REPLY_NAMES),
            remove_headers=tuple(term.lower() for term in values["headers"]["remove"]),
        )

    def rule(self, keys: KeyPath, values: Mapping[str, Any]) -> OutcomeRule:
        return OutcomeRule(
            when=self.condition((*keys, "when"), values.get("when", {})),
            state=values["state"],
            status=values.get("status"),
            reason=self.formula((*keys, "reason"), values.get("reason"), None),
            effect=Effect(values["effect"]) if "effect" in values else None,
        )

    def condition(self, keys: KeyPath, values: Mapping[str, Any]) -> Condition:
        given = values.get("status", [])
        statuses = tuple(_range(status) for status in (given if isinstance(given, list) else [given]))
        if any(low > high for low, high in statuses):
            self._section.complain((*keys, "status"), "expected a range that goes up, such as 400-499")
        return Condition(
            statuses=statuses,
            headers={name.lower(): term for name, term in values.get("headers", {}).items()},
            body=self.formula((*keys, "body"), values.get("body"), None),
        )

    def source(self, keys: KeyPath, values: Mapping[str, Any]) -> Source:
        return Source(
            format=values.get("format"),
            charset=self._charset(keys, values.get("charset")),
            lists=tuple(values.get("lists", ())),
            namespaces=dict(values.get("namespaces", {})),
        )

    def formula(self, keys: KeyPath, value: Any, names: Names) -> Formula | None:
        if value is None:
            return None
        if isinstance(value, Mapping) and list(value) == ["python"] and ":" in str(value["python"]):
            self._check_hook(keys, str(value["python"]))
            return Formula(python=str(value["python"]))
        text: str | None = self._compiled(keys, lambda: _checked(multiselect(value), names))
        return Formula(text=text) if text is not None else None

    def template(self, keys: KeyPath, text: str, names: Names) -> Template | None:
        return self._compiled(keys, lambda: Template(text, names))  # type: ignore[no-any-return]

    def file(self, keys: KeyPath, name: str) -> str | None:
        """The text of a file, by its path relative to the policy file that names it."""
        folder = os.path.dirname(self._section.node.at(keys).place.file)
        path = os.path.abspath(os.path.join(folder, name))
        try:
            data = self._context.reading.read(path, _MAX_TEMPLATE)
        except OSError as error:
            level = "note" if self._context.offline else "error"
            self._section.complain(keys, f"{path} cannot be read: {why(error)}", level)  # type: ignore[arg-type]
            return None
        if len(data) > _MAX_TEMPLATE:
            self._section.complain(keys, f"{path} is longer than {_MAX_TEMPLATE} bytes")
            return None
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            self._section.complain(keys, f"{path} is not UTF-8")
            return None

    def _content(self, keys: KeyPath, values: Mapping[str, Any], names: Names) -> Content:
        form = values["format"]
        soap = values["soap"]
        if "body" in values and "template" in values:
            self._section.complain((*keys, "template"), "expected a body or a template, not both")
        elif "template" in values and form == "json":
            self._section.complain((*keys, "template"), "JSON is made from `body`; a template is for the other formats")
        elif not {"body", "template"} & values.keys() and self._section.given(*_texts(keys), "format"):
            self._section.complain((*keys, "format"), "expected a body or a template to be written in this format")
        template = self.file((*keys, "template"), values["template"]) if "template" in values else None
        content = Content(
            body=self.formula((*keys, "body"), values.get("body"), names),
            format=form,
            template=template,
            charset=self._charset(keys, values["charset"]) or "utf-8",
            namespaces=dict(values["namespaces"]),
            soap_version=str(soap["version"]),  # type: ignore[arg-type]
            soap_action=soap["action"],
            soap_header=self.formula((*keys, "soap", "header"), soap.get("header"), names),
        )
        if form == "form" and codec_of(content.charset) is not None and not holds_ascii(content.charset):
            self._section.complain(
                (*keys, "charset"), f"a form is ASCII, and that is something else in {content.charset}"
            )
        if template is not None:
            self._check_template((*keys, "template"), content, template, names)
        if isinstance(values.get("body"), Mapping) and content.body is not None and content.body.text is not None:
            self._check_elements((*keys, "body"), form, values["body"])
        return content

    def _check_elements(self, keys: KeyPath, form: str, names: Mapping[str, Any]) -> None:
        """What makes no XML whatever the values are would only show as errors of clients."""
        empty = dict.fromkeys(names, "")
        try:
            if form == "xml":
                document(empty, {}, "utf-8")
            elif form == "soap":
                elements(empty)
        except ExpressionError as error:
            self._section.complain(keys, str(error))

    def _check_template(self, keys: KeyPath, content: Content, text: str, names: Names) -> None:
        compiled = self.template(keys, text, names)
        if compiled is None or content.format not in ("xml", "soap"):
            return
        whole = compiled.literal
        if content.format == "soap":
            whole = envelope(content.soap_version, None, whole, content.namespaces, "utf-8")
        try:
            read_xml(whole)
        except Unparsable as error:
            self._section.complain(keys, f"without what stands in braces it is no XML: {error}")

    def _set_headers(self, keys: KeyPath, values: Mapping[str, Any], names: Names) -> tuple[tuple[str, str], ...]:
        seen: dict[str, str] = {}
        for name, text in values["headers"]["set"].items():
            at = (*keys, "headers", "set", name)
            if name.lower() in FRAMING:
                self._section.complain(at, "this header is not the policy's to set")
            if name.lower() in seen:
                self._section.complain(at, f"the same header as {seen[name.lower()]}")
            seen[name.lower()] = name
            self.template(at, text, names)
        return tuple(values["headers"]["set"].items())

    def _charset(self, keys: KeyPath, name: str | None) -> str | None:
        if name is not None and codec_of(name) is None:
            self._section.complain((*keys, "charset"), f"no charset is known by the name {name}")
        return name

    def _check_hook(self, keys: KeyPath, name: str) -> None:
        try:
            find_hook(name)
        except NoHook as error:
            self._section.complain(keys, str(error), "note" if self._context.offline else "error")

    def _compiled(self, keys: KeyPath, compile: Callable[[], Any]) -> Any:
        try:
            return compile()
        except ExpressionSyntaxError as error:
            self._section.complain(keys, f"expected an expression (JMESPath): {error}")
            return None


def _checked(text: str, names: Names) -> str:
    Expression(text, names)
    return text


def _range(status: int | str) -> tuple[int, int]:
    text = str(status)
    if text.endswith("xx"):
        return int(text[0]) * 100, int(text[0]) * 100 + 99
    low, _, high = text.partition("-")
    return int(low), int(high or low)


def _texts(keys: KeyPath) -> tuple[str, ...]:
    return tuple(str(key) for key in keys)
