"""What is legal in receivers and callbacks but unwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network

from strangler.config.located import KeyPath
from strangler.config.receivers import names_a_url
from strangler.config.section import Section
from strangler.policy.model import Route, Table
from strangler.policy.receivers import Receiver

_LOOPBACK: tuple[IPv4Network | IPv6Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def advise_on_callbacks(table: Table, routes: Mapping[str, Section], receivers: Mapping[str, Section]) -> None:
    """Tell the sections what is unwise."""
    named: set[str] = set()
    for name, route in table.routes.items():
        if route.callbacks is not None:
            named.update(route.callbacks.receivers)
            if table.receivers.keys() >= set(route.callbacks.receivers):  # else one is not known here
                for keys, text in _of_route(route, table.receivers):
                    routes[name].complain(keys, text, "warning")
    known = named <= receivers.keys() and table.routes.keys() == routes.keys()  # which `check --offline` may not be
    for name, receiver in table.receivers.items():
        if name not in named and known:
            receivers[name].complain((), f"no route uses the receiver {name}", "warning")
        for keys, text in _of_receiver(receiver, receivers[name]):
            receivers[name].complain(keys, text, "warning")


def _of_route(route: Route, receivers: Mapping[str, Receiver]) -> Iterator[tuple[KeyPath, str]]:
    callbacks = route.callbacks
    assert callbacks is not None
    if not route.records:
        yield ("callbacks",), "has no effect: what passes through is no process"
        return
    chosen = [receivers[name] for name in callbacks.receivers]
    key = "header" if callbacks.header is not None else "body"
    if names_a_url(route) and not any(receiver.allow for receiver in chosen):
        yield ("callbacks", key), "whoever names a URL is refused: none of these receivers has `allow`"
    if not names_a_url(route):
        for index, receiver in enumerate(chosen):
            if receiver.allow:
                yield (
                    ("callbacks", "receivers", index),
                    f"{receiver.name} is never called: without `header` or `body` no caller can name a URL",
                )
    if route.access.name is None:
        for index, receiver in enumerate(chosen):
            if receiver.callers:
                yield (
                    ("callbacks", "receivers", index),
                    f"{receiver.name} is never called: no caller has a name without access.name",
                )


def _of_receiver(receiver: Receiver, section: Section) -> Iterator[tuple[KeyPath, str]]:
    for index, network in enumerate(receiver.networks):
        if any(network.version == loopback.version and network.overlaps(loopback) for loopback in _LOOPBACK):
            yield (
                ("networks", index),
                "opens loopback: what listens on this machine only can be called, our own listeners too",
            )
    if receiver.url is not None and receiver.url.startswith("http:"):
        yield ("url",), "plain http: whoever is on the way reads, and can answer in its place"
    for index, origin in enumerate(receiver.allow):
        if origin.scheme == "http":
            yield ("allow", index), "plain http: whoever is on the way reads, and can answer in its place"
        if origin.host == "*":
            yield ("allow", index), "any public host can be named by callers"
    if not receiver.tls.verify:
        yield ("tls", "verify"), "whoever answers is taken for the receiver"
    if not all(node.inserted for _, node in section.node.at(("secrets",)).children()):
        yield (
            ("secrets",),
            "one stands in the policy itself, which therefore is not kept for --on-bad-policy last-good; "
            "${file:PATH} and ${secret-env:NAME} keep it apart",
        )
