"""Upstreams of a policy, and the default, from their checked values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from strangler.config.scalars import seconds
from strangler.config.section import Context, Section
from strangler.config.urls import MAX_SOCKET_PATH, is_host, is_socket_path, web_url
from strangler.config.variables import part
from strangler.engine.tls import holds_authorities, holds_own
from strangler.policy.model import Rewrite
from strangler.policy.target import normal
from strangler.policy.upstreams import Forward, Tls, Upstream

# A name of DNS (RFC 1035 section 2.3.4: labels of at most 63 octets, 253 in all), or an address of IPv6.


class _Address(NamedTuple):
    scheme: Any  # http, https or unix
    host: str = ""
    port: int = 0
    socket_path: str = ""
    base_path: str = ""


def build_upstream(name: str, section: Section, context: Context) -> Upstream | None:
    """The upstream; None where something is wrong with it, which the section has been told."""
    values = section.values
    try:
        address = _address(values["url"])
    except ValueError as error:
        section.complain(("url",), str(error))
        return None
    if "h2c" in (token.lower() for token in values["upgrade"]):
        section.complain(("upgrade",), "h2c is never tunnelled: what runs in it could not be seen")
        return None
    if section.given("tls") and address.scheme != "https":
        section.complain(("tls",), "has no effect on a URL that is not https", "warning")
    return Upstream(
        name=name,
        scheme=address.scheme,
        host=address.host,
        port=address.port,
        socket_path=address.socket_path,
        base_path=address.base_path,
        connect_timeout=seconds(values["connect_timeout"]),
        timeout=seconds(values["timeout"]),
        first_byte_timeout=seconds(values["first_byte_timeout"]),
        idle_timeout=seconds(values["idle_timeout"]),
        tunnel_timeout=seconds(values["tunnel_timeout"]),
        keepalive=seconds(values["keepalive"]),
        queue_timeout=seconds(values["queue_timeout"]),
        max_connections=int(values["max_connections"]),
        tls=build_tls(values["tls"], section, context),
        host_header=values["host_header"],
        forward=Forward(**values["forward"]),
        upgrade=tuple(token.lower() for token in values["upgrade"]),
    )


def build_rewrite(values: Mapping[str, str]) -> Rewrite:
    """What is taken from, and put before, a path; a final slash is nobody's."""
    added = values["add_prefix"]
    return Rewrite(strip_prefix=values["strip_prefix"].rstrip("/"), add_prefix=part(added.rstrip("/"), added))


def _address(url: str) -> _Address:
    if url.startswith("unix:"):
        path = "/" + url.removeprefix("unix:").lstrip("/")
        if path == "/":
            raise ValueError("expected the path of a socket: unix:/path.sock")
        if not is_socket_path(path):
            raise ValueError(f"expected the path of a socket, which has at most {MAX_SOCKET_PATH} bytes")
        return _Address("unix", socket_path=path)
    parts = web_url(url)
    if parts is None:
        raise ValueError("expected a URL: http://host:port/base; its host or port is not one")
    if "@" in parts.netloc:
        raise ValueError("a URL holds no credentials here; send them with call.headers.set and ${secret-env:NAME}")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise ValueError("expected a URL without query and fragment")
    base = parts.path.rstrip("/")
    if not base.isascii() or " " in base or (base and normal(base.encode()) != base.encode()):
        raise ValueError("expected a base path in normal form: without dot segments, //, or encoded plain letters")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return _Address(parts.scheme, parts.hostname or "", port, "", part(base, url))


def build_tls(values: Mapping[str, Any], section: Section, context: Context) -> Tls:
    """How TLS is spoken, with absolute paths; what is wrong with it, the section is told."""
    folder = os.path.dirname(section.node.place.file)
    paths = {}
    for key in ("ca", "cert", "key"):
        if key in values:
            path = os.path.abspath(os.path.join(folder, values[key]))
            # They are opened by whoever speaks TLS; here they are noted, so that a new certificate shows as a change.
            if context.reading.look(path) is None:
                section.complain(("tls", key), f"{path} cannot be read", "note" if context.offline else "error")
            paths[key] = path
    if "key" in paths and "cert" not in paths:
        section.complain(("tls", "key"), "a private key needs its certificate, `cert`")
    name = values.get("server_name")
    if name is not None and not is_host(name):
        section.complain(("tls", "server_name"), "expected the name of a host, or an address")
    stamps = [context.reading.stamps[path] for path in paths.values()]
    seen = tuple(stamp for stamp in stamps if stamp is not None)
    tls = Tls(**paths, verify=values["verify"], server_name=name, seen=seen)
    if len(seen) == len(stamps):
        _examine(tls, section)
    return tls


def _examine(tls: Tls, section: Section) -> None:
    """Files that are there but half-written, or mixed up, would only show as 502 to clients."""
    if tls.ca is not None and not holds_authorities(tls.ca):
        section.complain(("tls", "ca"), f"{tls.ca} holds no certificates; expected PEM")
    if tls.cert is not None and not holds_own(tls.cert, tls.key):
        where = f"with the private key in {tls.key}" if tls.key is not None else "and its private key, or `key` for it"
        section.complain(
            ("tls", "cert"), f"expected {tls.cert} to hold a certificate {where}, both as PEM and without a password"
        )
