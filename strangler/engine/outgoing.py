"""The request that goes upstream, made of the recorded one and today's policy."""

from __future__ import annotations

from strangler.domain.exchange import Header, RecordedRequest
from strangler.domain.idempotency import KeySyntaxError, parse_key
from strangler.domain.process import Process
from strangler.domain.tracing import attempt_name, child
from strangler.policy.forwarding import read_by_cgi, upstream_target
from strangler.policy.model import CallPolicy, Route
from strangler.ports import Bodies, Outgoing

REQUEST_PART = "request"
"""The name of the part under which the chunks of a request lie."""


def lacks_credentials(recorded: RecordedRequest, call: CallPolicy) -> bool:
    """Whether a request goes with its client's credentials, and they do not open any more: then it is not sent."""
    return recorded.credentials is None and call.credentials == "forward"


def outgoing(process: Process, recorded: RecordedRequest, route: Route, bodies: Bodies) -> Outgoing:
    """What is sent for a process: but for its span the same on every attempt, unless the policy changed."""

    async def read_chunk(index: int) -> bytes:
        return await bodies.read_chunk(process.id, REQUEST_PART, index)

    target = upstream_target(recorded.target, route.rewrite, route.upstream)
    headers = upstream_headers(process, recorded, route, attempt_name(process.tries))
    return Outgoing(recorded.method, target, headers, recorded.body, read_chunk)


def upstream_headers(process: Process, recorded: RecordedRequest, route: Route, span: str) -> list[Header]:
    """The fields that go upstream. The recorded ones are end-to-end already, forwarding fields, correlation id and
    trace in place. ``span``: the name of the span that sends it, see `tracing.child`."""
    call = route.call
    headers = recorded.all_headers() if call.credentials == "forward" else list(recorded.headers)
    if process.trace is not None:
        # Where the policy took the trace out it stays out.
        traced = child(process.trace, span).encode()
        headers = [(name, traced if name.lower() == b"traceparent" else value) for name, value in headers]
    if call.forward_idempotency_key is not None:
        headers = set_header(headers, call.forward_idempotency_key.encode(), _key_of(process, recorded, route))
    for name, value in call.set_headers:
        headers = set_header(headers, name.encode(), value.encode())
    if call.remove_headers:
        gone = {read_by_cgi(name.encode()) for name in call.remove_headers}
        headers = [header for header in headers if read_by_cgi(header[0]) not in gone]
    if call.follow is not None and call.follow.template is not None:
        # The reply is looked into for where to ask, so it has to come in plain bytes.
        headers = set_header(headers, b"Accept-Encoding", b"identity")
    if route.upstream.host_header == "upstream":
        headers = set_header(headers, b"Host", route.upstream.authority.encode())
    elif not any(name.lower() == b"host" for name, _ in headers):  # HTTP/1.0 can do without, and we do not speak it
        headers.insert(0, (b"Host", route.upstream.authority.encode()))
    return headers


def _key_of(process: Process, recorded: RecordedRequest, route: Route) -> bytes:
    """The client's key as it spelled it, quoted or bare; where it gave none, the process's id."""
    if process.key is None:
        return process.id.encode()
    names = {name.lower().encode() for name in route.accept.idempotency.headers}
    for name, value in recorded.headers:
        if name.lower() in names and _same_key(value, process.key):
            return value.strip(b" \t")
    return process.key.encode()


def _same_key(value: bytes, key: str) -> bool:
    try:
        return parse_key(value) == key
    except KeySyntaxError:
        return False


def set_header(headers: list[Header], name: bytes, value: bytes) -> list[Header]:
    """The headers with one field of that name, in the place of the first that was there, and none that CGI and WSGI
    cannot tell from it."""
    lower, read = name.lower(), read_by_cgi(name)
    result: list[Header] = []
    done = False
    for header in headers:
        if header[0].lower() == lower:
            if not done:
                result.append((header[0], value))
                done = True
        elif read_by_cgi(header[0]) != read:
            result.append(header)
    if not done:
        result.append((name, value))
    return result
