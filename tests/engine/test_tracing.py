"""The trace of a request: through its acceptance, and on to each attempt."""

from __future__ import annotations

from strangler.domain import tracing
from strangler.domain.exchange import Fault, FaultKind, Header
from strangler.engine.retrying import again
from strangler.ports import Outgoing
from tests.engine.world import COMPAT, Reply, World, a_request, a_route

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT: Header = (b"Traceparent", f"00-{TRACE}-{SPAN}-01".encode())
NOT_SENT = Fault(FaultKind.NOT_SENT, "connection refused")


def sent(request: Outgoing, name: bytes) -> list[bytes]:
    """The values of a header that went upstream."""
    return [value for given, value in request.headers if given.lower() == name]


def span_of(request: Outgoing) -> tracing.Span:
    """The span under which a request went upstream."""
    (value,) = sent(request, b"traceparent")
    span = tracing.parse(value)
    assert span is not None
    return span


async def test_a_client_in_a_trace_finds_its_process_and_its_call_there(world: World) -> None:
    process = await world.accepted(a_request(headers=[PARENT, (b"tracestate", b"congo=1"), (b"tracestate", b"rojo=2")]))
    await world.ended(process.id)

    assert process.trace is not None
    ours = tracing.parse(process.trace.encode())
    assert ours is not None
    assert (ours.trace_id, ours.sampled, process.trace_state) == (TRACE, True, "congo=1,rojo=2")
    assert ours.span_id != SPAN
    (call,) = world.upstream.sent
    assert span_of(call).trace_id == TRACE
    assert span_of(call).span_id not in (SPAN, ours.span_id)
    assert sent(call, b"tracestate") == [b"congo=1,rojo=2"]


async def test_the_store_remembers_the_trace(world: World) -> None:
    process = await world.accepted(a_request(headers=[PARENT]))
    assert (await world.ended(process.id)).trace == process.trace


async def test_each_attempt_has_a_span_of_its_own(world: World) -> None:
    world.load(a_route(attempts=2))
    world.upstream.script = [Reply(503), Reply(503), Reply(200)]

    process = await world.accepted(a_request(headers=[PARENT]))
    await world.tried_again(process.id)
    await world.tried_again(process.id)
    await world.ended(process.id)

    spans = [span_of(call) for call in world.upstream.sent]
    assert {span.trace_id for span in spans} == {TRACE}
    assert len({span.span_id for span in spans}) == 3


async def test_a_request_without_a_trace_begins_one_whose_id_is_its_correlation_id(world: World) -> None:
    world.means.ids.correlation_id = lambda now: "ab" * 16  # type: ignore[method-assign]

    process = await world.accepted(a_request(headers=[(b"tracestate", b"congo=1")]))
    await world.ended(process.id)

    assert process.correlation_id == "ab" * 16
    assert span_of(world.upstream.sent[0]).trace_id == "ab" * 16
    assert process.trace_state is None
    assert sent(world.upstream.sent[0], b"tracestate") == []


async def test_what_a_client_calls_its_request_does_not_name_its_trace(world: World) -> None:
    process = await world.accepted(a_request(headers=[(b"X-Correlation-ID", b"cd" * 16)]))
    assert process.correlation_id == "cd" * 16
    assert process.trace is not None
    assert "cd" * 16 not in process.trace


async def test_a_waiting_client_does_not_change_what_goes_upstream(world: World) -> None:
    process = await world.accepted(a_request(headers=[PARENT]), COMPAT)
    await world.ended(process.id)
    assert span_of(world.upstream.sent[0]).trace_id == TRACE


async def test_a_traceparent_that_the_policy_takes_out_stays_out(world: World) -> None:
    world.load(a_route(remove_headers=frozenset({"traceparent"})))
    process = await world.accepted(a_request(headers=[PARENT]))
    await world.ended(process.id)
    assert sent(world.upstream.sent[0], b"traceparent") == []


async def test_a_process_that_is_made_again_is_a_span_of_its_own_in_the_same_trace(world: World) -> None:
    process = await world.accepted(a_request(headers=[PARENT, (b"tracestate", b"congo=1")]))
    retried = [again(process, world.route, name, world.clock.now(), None) for name in ("second", "third")]
    assert {one.trace_state for one in retried} == {"congo=1"}
    spans = [tracing.parse((one.trace or "").encode()) for one in (process, *retried)]
    assert {span.trace_id for span in spans if span is not None} == {TRACE}
    assert len({span.span_id for span in spans if span is not None}) == 3
