"""What is taken out of and put into a request head on its way upstream, for passthrough and recorded calls alike."""

from __future__ import annotations

from collections.abc import Mapping

from strangler.domain.exchange import Header, Peer
from strangler.policy.model import Rewrite
from strangler.policy.target import normal, plain
from strangler.policy.upstreams import Forward, Upstream

_X_FORWARDED = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")

_VIA_NAME = b"strangler"


def upstream_target(target: bytes, rewrite: Rewrite, upstream: Upstream) -> bytes:
    """The request target as the upstream gets it: prefix stripped, prefix and base path added, the rest as it came."""
    if not (rewrite.strip_prefix or rewrite.add_prefix or upstream.base_path):
        return target
    if rewrite.strip_prefix:
        path, mark, query = target.partition(b"?")
        rest = _stripped(path, rewrite.strip_prefix.encode())
        if rest is not None:
            target = rest + mark + query
            if not target.startswith(b"/") and not rewrite.add_prefix:
                target = b"/" + target
    if target == b"*":
        return target
    return upstream.base_path.encode() + rewrite.add_prefix.encode() + target


def _stripped(path: bytes, prefix: bytes) -> bytes | None:
    """What follows the prefix in a path, as it came; None: the path does not begin with it.

    Whether it does says the normal form, as for matching: else ``/%61/x`` would go upstream unstripped, and ``/a/../x``
    as ``/../x``.
    """
    if not plain(prefix):
        prefix = normal(prefix)
    if plain(path):
        return path[len(prefix) :] if (path + b"/").startswith(prefix + b"/") else None
    wanted = prefix.split(b"/")[1:]
    depth = fits = 0  # segments up to here, and how many of them are the first ones of the prefix
    end, rest_at = 0, None
    for segment in path.split(b"/")[1:]:
        end += 1 + len(segment)
        segment = normal(segment)
        if segment == b"..":
            depth = max(0, depth - 1)
            fits = min(fits, depth)
            if fits < len(wanted):
                rest_at = None  # what follows would climb out of the prefix
        elif segment not in (b"", b"."):
            if fits == depth < len(wanted) and segment == wanted[depth]:
                fits += 1
                rest_at = end if fits == len(wanted) else None
            depth += 1
    return path[rest_at:] if rest_at is not None else None


def forwarding_fields(
    earlier: Mapping[bytes, bytes], host: bytes, peer: Peer, forward: Forward, *, trusted: bool, old: bool
) -> list[Header]:
    """The forwarding fields as they go upstream: from a trusted peer what it says is extended, from any other replaced.

    ``earlier``: what the request says in the fields that we own, joined, by lower-case name. A field that equals one of
    them but for ``_`` (`read_by_cgi`) is to be dropped: CGI and WSGI cannot tell the two apart. ``old``: the request is
    of HTTP/1.0.
    """
    fields: list[Header] = []
    scheme = b"https" if peer.tls else b"http"
    address = peer.address.encode() or b"unknown"
    said = earlier if trusted else {}
    if forward.x_forwarded:
        fields.append((b"X-Forwarded-For", _extended(said.get(b"x-forwarded-for"), address)))
        fields.append((b"X-Forwarded-Proto", said.get(b"x-forwarded-proto") or scheme))
        if shown := said.get(b"x-forwarded-host") or host:  # HTTP/1.0 can do without
            fields.append((b"X-Forwarded-Host", shown))
    if forward.forwarded:
        # RFC 7239 section 6: an IPv6 address is bracketed and therefore quoted.
        node = b'"[%b]"' % address if b":" in address else address
        named = b'host="%b";' % host.replace(b'"', b"") if host else b""
        element = b"for=%b;%bproto=%b" % (node, named, scheme)
        fields.append((b"Forwarded", _extended(said.get(b"forwarded"), element)))
    if forward.via:  # RFC 9110 section 7.6.3: appended, whoever sent it, with the version in which it came
        fields.append((b"Via", _extended(earlier.get(b"via"), (b"1.0 " if old else b"1.1 ") + _VIA_NAME)))
    return fields


def has_been_here(via: bytes) -> bool:
    """Whether one of the hops that ``Via`` names is ours, in whatever version of the protocol it was reached."""
    return any(hop.split()[1:2] == [_VIA_NAME] for hop in via.split(b","))


def owned(forward: Forward) -> frozenset[bytes]:
    """The names of the forwarding fields that we set, lower case."""
    return frozenset(
        (_X_FORWARDED if forward.x_forwarded else ())
        + ((b"forwarded",) if forward.forwarded else ())
        + ((b"via",) if forward.via else ())
    )


def read_by_cgi(name: bytes) -> bytes:
    """A field's name as CGI and WSGI read it: two that are the same to them are one field."""
    return name.lower().replace(b"_", b"-")


def _extended(earlier: bytes | None, value: bytes) -> bytes:
    return value if not earlier else earlier + b", " + value
