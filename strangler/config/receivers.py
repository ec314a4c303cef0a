"""Receivers of callbacks, and `callbacks` of a route, from their checked values."""

from __future__ import annotations

import base64
import binascii
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from strangler.config.limits import read_rate
from strangler.config.scalars import seconds
from strangler.config.section import Context, Section
from strangler.config.upstreams import build_tls
from strangler.domain.delivery import FINAL_STATES
from strangler.domain.process import PublicState
from strangler.domain.retry import Backoff
from strangler.policy.addresses import judge
from strangler.policy.callback_url import AllowedOrigin, CallbackUrl, parse_allowed_origin, parse_callback_url
from strangler.policy.expressions import REQUEST_NAMES, Expression, ExpressionSyntaxError
from strangler.policy.model import Route
from strangler.policy.receivers import CallbackPolicy, Receiver, SigningKey

_SHARED = "whsec_"
_PRIVATE = "whsk_"
_PUBLIC = "whpk_"
_SEED = 32  # bytes of an ed25519 private key; the public key, of as many, may stand behind it


def build_receiver(name: str, section: Section, context: Context) -> Receiver | None:
    """The receiver; None where something is wrong with it, which the section has been told."""
    before = len(section.report.errors())
    values = section.values
    if ("url" in values) == ("allow" in values):
        section.complain((), "expected either `url` or `allow`")
        return None
    networks = _networks(section)
    url = _url(section, networks) if "url" in values else None
    allow = _allow(section, networks) if "allow" in values else ()
    secrets = _secrets(section)
    tls = build_tls(values["tls"], section, context)
    if len(section.report.errors()) > before:
        return None
    states = values.get("states")
    backoff = values["backoff"]
    return Receiver(
        name=name,
        url=str(url) if url is not None else None,
        allow=allow,
        secrets=secrets,
        signature=values["signature"],
        tls=tls,
        networks=networks,
        verify=values["verify"],
        states=frozenset(PublicState(state) for state in states) if states is not None else FINAL_STATES,
        payload=values["payload"],
        callers=tuple(values.get("callers", ())),
        concurrency=int(values["concurrency"]),
        rate=read_rate(values.get("rate")),
        timeout=seconds(values["timeout"]),
        attempts=int(values["attempts"]),
        backoff=Backoff(
            initial=seconds(backoff["initial"]),
            factor=float(backoff["factor"]),
            max=seconds(backoff["max"]),
            jitter=backoff["jitter"],
        ),
    )


def build_callbacks(section: Section, context: Context) -> CallbackPolicy | None:
    """Who is told of a route's processes; None: nobody."""
    values: dict[str, Any] | None = section.values.get("callbacks")
    if values is None:
        return None
    if "receivers" not in values:
        section.complain(("callbacks", "receivers"), "this key is required")
        return None
    if not values["receivers"]:
        return None
    if "public_url" not in section.values and not context.public_url:
        section.complain(
            ("callbacks",),
            "expected public_url, here or as --public-url: receivers are told our URLs as you configured them, "
            "never as some request had them",
        )
    header = values.get("header")
    return CallbackPolicy(
        receivers=tuple(dict.fromkeys(values["receivers"])),
        header=header.lower() if header is not None else None,
        body=_body(section, values.get("body")),
    )


def names_a_url(route: Route) -> bool:
    """Whether callers of a route can name a URL."""
    return route.callbacks is not None and (route.callbacks.header is not None or route.callbacks.body is not None)


def _body(section: Section, text: Any) -> Expression | None:
    if text is None:
        return None
    try:
        if not isinstance(text, str):
            raise ExpressionSyntaxError("a mapping or list is no URL")
        return Expression(text, REQUEST_NAMES)
    except ExpressionSyntaxError as error:
        section.complain(
            ("callbacks", "body"),
            f"expected an expression (JMESPath) over the request, as in body.callbackUrl: {error}",
        )
        return None


def _networks(section: Section) -> tuple[IPv4Network | IPv6Network, ...]:
    found = []
    for index, text in enumerate(section.values["networks"]):
        try:
            found.append(ip_network(text))
        except ValueError:
            section.complain(
                ("networks", index),
                "expected a network such as 10.1.0.0/16 or fd12::/32, without bits beyond its length",
            )
    return tuple(found)


def _url(section: Section, networks: tuple[IPv4Network | IPv6Network, ...]) -> CallbackUrl | None:
    try:
        url = parse_callback_url(section.values["url"])
        _check_reach(url, networks)
    except ValueError as error:
        section.complain(("url",), f"cannot be called back: {error}")
        return None
    return url


def _allow(section: Section, networks: tuple[IPv4Network | IPv6Network, ...]) -> tuple[AllowedOrigin, ...]:
    found = []
    for index, text in enumerate(section.values["allow"]):
        try:
            origin = parse_allowed_origin(text)
            _check_reach(CallbackUrl(origin.scheme, origin.host, origin.port, "/"), networks)
        except ValueError as error:
            section.complain(
                ("allow", index), f"expected an origin such as https://hooks.example or https://*.example: {error}"
            )
        else:
            found.append(origin)
    return tuple(found)


def _check_reach(url: CallbackUrl, networks: tuple[IPv4Network | IPv6Network, ...]) -> None:
    """Refuse what could never be called.

    Raises:
        ValueError: it says why.
    """
    if url.scheme == "http" and not networks:
        raise ValueError("expected https; plain http is taken only into `networks`")
    address = url.address
    if address is None:
        return
    reason = judge(address, networks, plain=url.scheme == "http")
    if reason is not None:
        raise ValueError(f"{address} is {reason}; `networks` can name private ranges that may be called")


def _secrets(section: Section) -> tuple[SigningKey, ...]:
    make = _shared_key if section.values["signature"] == "v1" else _private_key
    found = []
    for index, text in enumerate(section.values["secrets"]):
        node = section.node.at(("secrets", index))
        if node.unresolved:
            continue
        try:
            found.append(SigningKey(make(text)))
        except ValueError as error:
            # Not by `complain`, which holds back every text about a secret: these quote nothing of it.
            section.report.add(node.place, (*section.path, "secrets", index), str(error))
    return tuple(found)


def _shared_key(text: str) -> bytes:
    """The key of the HMAC. What has no prefix is base64 all the same, as in the libraries of Standard Webhooks."""
    if text.startswith((_PRIVATE, _PUBLIC)):
        raise ValueError("expected a secret for v1, whsec_…; this one is for `signature: v1a`")
    octets = _decoded(text.removeprefix(_SHARED))
    if not 24 <= len(octets) <= 64:
        raise ValueError(f"expected base64 of 24 to 64 random bytes; this is of {len(octets)}")
    return octets


def _private_key(text: str) -> bytes:
    if not text.startswith(_PRIVATE):
        raise ValueError("expected an ed25519 private key for v1a, whsk_ and base64")
    octets = _decoded(text.removeprefix(_PRIVATE))
    seed, public = octets[:_SEED], octets[_SEED:]
    if len(seed) != _SEED or len(public) not in (0, _SEED):
        raise ValueError(
            "expected base64 of the 32 bytes of an ed25519 private key, or of these and the public key's 32"
        )
    if public and public != Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw():
        raise ValueError("the public key in it is not the one of the private key")
    return seed


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("expected base64, with its padding, behind the prefix") from None
