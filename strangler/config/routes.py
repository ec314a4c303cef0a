"""Routes of a policy from their checked values, with the defaults that depend on other keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from strangler.config import promise
from strangler.config.accepting import build_accept
from strangler.config.accessing import build_access
from strangler.config.deprecation import build_deprecation
from strangler.config.following import build_follow
from strangler.config.limits import build_circuit, build_limits
from strangler.config.probing import build_probe
from strangler.config.receivers import build_callbacks
from strangler.config.referencing import build_references
from strangler.config.scalars import duration_text, seconds, size
from strangler.config.section import Context, Section
from strangler.config.translating import FRAMING, HOST_STAYS, build_errors, build_wall
from strangler.config.upstreams import build_rewrite
from strangler.config.urls import web_url
from strangler.domain.process import PublicState
from strangler.domain.retry import Backoff
from strangler.policy.decide import usual_wait
from strangler.policy.model import (
    READS,
    CallPolicy,
    CorsPolicy,
    Match,
    Mode,
    ProcessPolicy,
    Promise,
    Redaction,
    Rollout,
    Route,
)
from strangler.policy.pattern import PathSyntaxError, parse_path
from strangler.policy.upstreams import Upstream

_RETAINED_PARTS = ("retain_bodies", "retain_history", "retain_deliveries")


class BuiltRoute(NamedTuple):
    """A route, and its promise as text."""

    route: Route
    promise_text: str


def build_route(
    section: Section, upstream: Upstream, context: Context, probed: Upstream | None = None
) -> BuiltRoute | None:
    """The route; None where something is wrong with it, which the section has been told.

    ``probed``: the upstream that `call.probe` names.
    """
    before = len(section.report.errors())
    values = section.values
    mode = Mode(values["mode"])
    match = _match(section)
    call = _call(section, match, upstream, context, probed)
    wait = seconds(values["wait"]) if "wait" in values else usual_wait(mode, call.timeout)
    rollout = _rollout(values)
    promised = Promise(
        digest="",  # of the text, which is written once all is well
        route=values["name"],
        process=_process(section),
        access=build_access(section, context),
        on_in_doubt=call.on_in_doubt,
        wait=wait,
        redact=_redaction(values["redact"]),
        references=build_references(section, match.paths),
        wall=build_wall(section, match.paths, context),
    )
    accept = build_accept(section, mode, rollout, context)
    deprecation = build_deprecation(section)
    errors = build_errors(section, context)
    cors = _cors(section)
    callbacks = build_callbacks(section, context)
    if "public_url" in values and web_url(values["public_url"]) is None:
        section.complain(("public_url",), "expected an absolute URL; its host or port is not one")
    if len(section.report.errors()) > before:
        return None
    digest, text = promise.write(promised)
    route = Route(
        name=values["name"],
        match=match,
        upstream=upstream,
        mode=mode,
        wait=wait,
        promise=replace(promised, digest=digest),
        process=promised.process,
        accept=accept,
        access=promised.access,
        call=call,
        prefer=values["prefer"],
        rollout=rollout,
        rewrite=build_rewrite(values["rewrite"]),
        on_store_failure=values["on_store_failure"],
        deprecation=deprecation,
        public_url=values["public_url"].rstrip("/") if "public_url" in values else None,
        errors=errors,
        cors=cors,
        limits=build_limits(section),
        callbacks=callbacks,
    )
    return BuiltRoute(route, text)


def _redaction(values: Mapping[str, Any]) -> Redaction:
    return Redaction(frozenset(name.lower() for name in values["headers"]), frozenset(values["pointers"]))


def _match(section: Section) -> Match:
    values = section.values["match"]
    paths = values["path"] if isinstance(values["path"], list) else [values["path"]]
    shapes: dict[Any, str] = {}
    for index, path in enumerate(paths):
        keys = ("match", "path", index) if isinstance(values["path"], list) else ("match", "path")
        try:
            parsed = parse_path(path)
        except PathSyntaxError as error:
            section.complain(keys, str(error))
            continue
        if (parsed.segments, parsed.prefix) in shapes:
            section.complain(keys, f"the same as {shapes[parsed.segments, parsed.prefix]}")
        shapes[parsed.segments, parsed.prefix] = path
    _refuse_repeated(section, ("match", "headers"), values["headers"])
    return Match(
        paths=tuple(paths),
        methods=frozenset(values.get("methods", ())),
        hosts=tuple(dict.fromkeys(host.lower() for host in values.get("hosts", ()))),
        headers={name.lower(): term for name, term in values["headers"].items()},
        query=dict(values["query"]),
    )


def _refuse_repeated(section: Section, keys: tuple[str, ...], headers: Mapping[str, str]) -> None:
    """Names of headers have no case: two that differ in nothing else are one."""
    seen: dict[str, str] = {}
    for name in headers:
        if name.lower() in seen:
            section.complain((*keys, name), f"the same header as {seen[name.lower()]}")
        seen[name.lower()] = name


def _process(section: Section) -> ProcessPolicy:
    process = section.values["process"]
    retain = seconds(process["retain"])
    parts = {key: seconds(process[key]) for key in _RETAINED_PARTS if key in process}
    for key, value in parts.items():
        if value > retain:
            section.complain(("process", key), f"expected at most retain ({duration_text(retain)})")
    return ProcessPolicy(
        type=process.get("type", section.values["name"]),
        resource=process["resource"],
        id_field=process.get("id_field"),
        deadline=seconds(process["deadline"]),
        retain=retain,
        **parts,
        statuses={PublicState(state): word for state, word in process["statuses"].items()},
        contract=process["contract"],
        public_references=tuple(process["references"].get("public", ())) or None,
    )


def _rollout(values: Mapping[str, Any]) -> Rollout | None:
    rollout = values.get("rollout")
    if rollout is None:
        return None
    return Rollout(
        mode=Mode(rollout["mode"]),
        percent=float(rollout["percent"]),
        seed=rollout.get("seed", values["name"]),
        wait=seconds(rollout["wait"]) if "wait" in rollout else None,
        by=rollout["by"],
        include=tuple(rollout["include"]),
        exclude=tuple(rollout["exclude"]),
    )


def _cors(section: Section) -> CorsPolicy:
    cors = section.values["cors"]
    origins = tuple(cors["origins"])
    if "*" in origins and cors["credentials"]:
        section.complain(("cors", "credentials"), "cookies of every page's visitors are not for `*`; name the origins")
    return CorsPolicy(
        origins=origins,
        headers=tuple(cors["headers"]),
        expose=tuple(cors["expose"]),
        credentials=cors["credentials"],
        max_age=seconds(cors["max_age"]),
    )


def _call(section: Section, match: Match, upstream: Upstream, context: Context, probed: Upstream | None) -> CallPolicy:
    call = section.values["call"]
    timeout = seconds(call["timeout"]) if "timeout" in call else upstream.timeout
    attempts = int(call["attempts"]) if "attempts" in call else None
    on_in_doubt = call.get("on_in_doubt")
    # Without a number of its own, a route that serves other methods than these has one attempt for them.
    only_reads = bool(match.methods) and match.methods <= READS
    if on_in_doubt == "retry" and (attempts if attempts is not None else 3 if only_reads else 1) < 2:
        section.complain(
            ("call", "on_in_doubt"), "expected attempts of at least 2: with one attempt there is nothing to retry"
        )
    least = context.lease + timeout
    settle = seconds(call["settle"]) if "settle" in call else least
    if settle < least:
        section.complain(
            ("call", "settle"),
            f"expected at least {duration_text(least)}: the lease ({duration_text(context.lease)}) and "
            f"the timeout ({duration_text(timeout)})",
        )
    set_headers = _set_headers(section)
    return CallPolicy(
        timeout=timeout,
        attempts=attempts,
        on_in_doubt=on_in_doubt,
        settle=settle,
        backoff=_backoff(call["backoff"]),
        retry_on_not_sent="not_sent" in call["retry_on"],
        retry_on_status=frozenset(int(status) for status in call["retry_on"] if status != "not_sent"),
        set_headers=set_headers,
        remove_headers=frozenset(name.lower() for name in call["headers"]["remove"]),
        credentials=call["credentials"],
        forward_idempotency_key=call.get("forward_idempotency_key"),
        concurrency=int(call["concurrency"]),
        queue=int(call["queue"]),
        max_reply=size(call["max_reply"]),
        follow=build_follow(section, context),
        circuit=build_circuit(section),
        probe=build_probe(section, context, probed),
    )


def _set_headers(section: Section) -> tuple[tuple[str, str], ...]:
    headers = section.values["call"]["headers"]
    _refuse_repeated(section, ("call", "headers", "set"), headers["set"])
    for name in headers["set"]:
        if name.lower() in FRAMING:
            section.complain(("call", "headers", "set", name), "this header is not the policy's to set")
    for index, name in enumerate(headers["remove"]):
        if name.lower() == "host":
            section.complain(("call", "headers", "remove", index), HOST_STAYS)
    key_header = section.values["call"].get("forward_idempotency_key")
    if key_header is not None and key_header.lower() in FRAMING:
        section.complain(("call", "forward_idempotency_key"), "this header is not the policy's to set")
    return tuple(headers["set"].items())


def _backoff(values: Mapping[str, Any]) -> Backoff:
    return Backoff(
        initial=seconds(values["initial"]),
        factor=float(values["factor"]),
        max=seconds(values["max"]),
        jitter=values["jitter"],
    )
