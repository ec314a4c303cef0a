"""Who is told of a process is settled with its acceptance: the receivers of its route, and the URL of its caller."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from strangler.domain.delivery import FINAL_STATES, Subscription, read_subscriptions
from strangler.domain.exchange import Fault, FaultKind
from strangler.domain.process import PublicState
from strangler.engine import content, keys
from strangler.engine.aside import PARSED_HERE
from strangler.engine.submission import Joined, Refused
from strangler.policy.callback_url import parse_allowed_origin
from strangler.policy.expressions import Expression
from strangler.policy.model import AcceptPolicy, AccessPolicy, IdempotencyPolicy
from strangler.policy.readable import parse_json
from strangler.policy.receivers import CallbackPolicy, Receiver
from strangler.ports import DeliveryQuery
from tests.engine.world import COMPAT, World, a_request, a_route

URL = b"https://hooks.partner.example/claims?id=7"


def with_callbacks(world: World, accept: AcceptPolicy | None = None, fails: bool = False, **callbacks: Any) -> World:
    world.receivers = {
        "broker-a": Receiver(name="broker-a", url="https://hooks.broker-a.example/claims"),
        "partners": Receiver(
            name="partners",
            allow=(parse_allowed_origin("https://*.partner.example"),),
            callers=("partner-*",),
            states=FINAL_STATES | {PublicState.PROCESSING},
        ),
    }
    policy = CallbackPolicy(**{"receivers": ("broker-a", "partners"), "header": "x-callback-url", **callbacks})
    doubt: Any = {"on_in_doubt": "fail"} if fails else {}
    route = a_route(accept=accept, access=AccessPolicy(name="header:X-Client-Id"), **doubt)
    world.load(replace(route, callbacks=policy))
    return world


def from_partner(url: bytes | None = URL, **fields: Any) -> Any:
    headers = [(b"X-Client-Id", b"partner-7")]
    if url is not None:
        headers.append((b"X-Callback-Url", url))
    return a_request(headers=[*headers, *fields.pop("headers", ())], **fields)


async def test_a_receiver_with_a_url_of_its_own_is_told_of_every_process_of_its_route(world: World) -> None:
    process = await with_callbacks(world).accepted(a_request())
    assert process.subscriptions == '[["broker-a",null]]'


async def test_the_url_that_a_caller_names_is_kept_with_the_process_and_what_it_is_told_of(world: World) -> None:
    process = await with_callbacks(world).accepted(from_partner())
    assert process.subscriptions is not None
    assert read_subscriptions(process.subscriptions) == (
        Subscription("broker-a"),
        Subscription("partners", URL.decode(), FINAL_STATES | {PublicState.PROCESSING}),
    )


async def test_the_deliveries_of_a_process_are_there_with_its_end(world: World) -> None:
    ended = await with_callbacks(world).ended((await world.accepted(from_partner())).id)
    found = await world.store.deliveries.find(DeliveryQuery(process_id=ended.id))
    assert {(delivery.receiver, delivery.told) for delivery in found} == {
        ("broker-a", PublicState.COMPLETED),
        ("partners", PublicState.PROCESSING),
        ("partners", PublicState.COMPLETED),
    }


async def test_a_client_that_waits_for_its_answer_is_called_back_too(world: World) -> None:
    process = await with_callbacks(world).accepted(from_partner(), COMPAT)
    ended = await world.ended(process.id)
    assert len(await world.store.deliveries.find(DeliveryQuery(process_id=ended.id))) == 3


@pytest.mark.parametrize("kind", [FaultKind.NOT_SENT, FaultKind.INTERRUPTED])
async def test_whatever_ends_a_process_makes_its_deliveries(world: World, kind: FaultKind) -> None:
    with_callbacks(world, fails=True)
    world.upstream.script = [Fault(kind, "the connection broke")]
    process = await world.accepted(a_request(), COMPAT)
    ended = await world.ended(process.id)
    (delivery,) = await world.store.deliveries.find(DeliveryQuery(process_id=ended.id))
    assert delivery.told is ended.public_state


@pytest.mark.parametrize(
    "url",
    [
        b"https://elsewhere.example/claims",
        b"http://hooks.partner.example/claims",
        b"https://hooks.partner.example.evil.example/",
        b"https://user@hooks.partner.example/",
        b"not a url",
        b"https://hooks.broker-a.example/claims",  # nobody names the URL of a receiver that has one
        URL + b", " + URL,
    ],
)
async def test_a_url_that_no_receiver_takes_is_refused_and_nothing_is_recorded(world: World, url: bytes) -> None:
    refused = await with_callbacks(world).submit(from_partner(url))
    assert isinstance(refused, Refused)
    assert refused.name == "callback-not-allowed"
    assert url.decode() not in refused.detail
    assert [*world.store.all()] == []


async def test_a_caller_whom_the_receiver_does_not_serve_is_refused(world: World) -> None:
    refused = await with_callbacks(world).submit(a_request(headers=[(b"X-Callback-Url", URL)]))
    assert isinstance(refused, Refused)
    assert refused.name == "callback-not-allowed"


async def test_an_empty_header_names_nothing(world: World) -> None:
    process = await with_callbacks(world).accepted(from_partner(b""))
    assert process.subscriptions == '[["broker-a",null]]'


async def test_a_route_without_callbacks_looks_at_no_such_header(world: World) -> None:
    process = await world.accepted(from_partner(b"not a url"))
    assert process.subscriptions is None


async def test_a_url_may_stand_in_the_body(world: World) -> None:
    with_callbacks(world, header=None, body=Expression("body.reply_to"))
    process = await world.accepted(from_partner(None, body=b'{"reply_to": "%s"}' % URL))
    assert process.subscriptions is not None
    assert read_subscriptions(process.subscriptions)[1].url == URL.decode()
    for body in (b'{"reply_to": null}', b'{"reply_to": ""}', b"{}", b"no json"):
        assert (await world.accepted(from_partner(None, body=body))).subscriptions == '[["broker-a",null]]'
    refused = await world.submit(from_partner(None, body=b'{"reply_to": 7}'))
    assert isinstance(refused, Refused)
    assert refused.name == "callback-not-allowed"


async def test_a_body_is_parsed_once_however_many_look_into_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []

    def parse(data: bytes) -> Any:
        parsed.append(data)
        return parse_json(data)

    monkeypatch.setattr(content, "parse_json", parse)
    derived = IdempotencyPolicy(derive="body.claim", derive_anonymous=True)
    accept = AcceptPolicy(schema={"required": ["claim"]}, idempotency=derived)
    with_callbacks(world, accept, header=None, body=Expression("body.reply_to"))
    body = b'{"claim": 7, "reply_to": "%s"}' % URL
    process = await world.accepted(from_partner(None, body=body))
    assert process.key_lookup == "derived:7"
    assert process.subscriptions is not None
    assert read_subscriptions(process.subscriptions)[1].url == URL.decode()
    assert parsed == [body]
    refused = await world.submit(from_partner(None, body=b"no json"))
    assert isinstance(refused, Refused)
    assert parsed == [body, b"no json"]


async def test_what_is_looked_for_in_a_large_body_is_looked_for_beside_the_loop(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    class Noting(Expression):
        def evaluate(self, document: Any) -> Any:
            threads.append(threading.current_thread())
            return super().evaluate(document)

    monkeypatch.setattr(keys, "Expression", Noting)
    accept = AcceptPolicy(idempotency=IdempotencyPolicy(derive="body.claim", derive_anonymous=True))
    with_callbacks(world, accept, header=None, body=Noting("body.reply_to"))
    for length, here in ((0, True), (PARSED_HERE, False)):
        threads.clear()
        await world.accepted(from_partner(None, body=b'{"claim": %d, "text": "%s"}' % (length, b"x" * length)))
        assert [thread is threading.current_thread() for thread in threads] == [here, here]


async def test_where_both_name_a_url_the_header_does(world: World) -> None:
    with_callbacks(world, body=Expression("body.reply_to"))
    process = await world.accepted(from_partner(body=b'{"reply_to": "https://other.partner.example/"}'))
    assert process.subscriptions is not None
    assert read_subscriptions(process.subscriptions)[1].url == URL.decode()


async def test_a_known_key_comes_before_a_callback_that_is_refused(world: World) -> None:
    with_callbacks(world)
    key = [(b"Idempotency-Key", b"key-1")]
    process = await world.accepted(from_partner(headers=key))
    again = await world.submit(from_partner(b"https://elsewhere.example/", headers=key))
    assert again == Joined(process.id)


async def test_a_body_that_is_refused_is_refused_before_the_callback(world: World) -> None:
    with_callbacks(world, AcceptPolicy(schema={"type": "array"}))
    refused = await world.submit(from_partner(b"https://elsewhere.example/"))
    assert isinstance(refused, Refused)
    assert refused.name == "invalid-request"


async def test_a_route_that_only_reports_tells_whom_it_may(world: World) -> None:
    with_callbacks(world, AcceptPolicy(enforce="report"))
    process = await world.accepted(from_partner(b"https://elsewhere.example/"))
    assert process.subscriptions == '[["broker-a",null]]'
    assert ("would_refuse", "callback-not-allowed") in [
        (name, values[1:2] and values[1]) for name, values in world.instrument.told
    ]


async def test_the_header_goes_upstream_as_it_came(world: World) -> None:
    await with_callbacks(world).ended((await world.accepted(from_partner())).id)
    assert (b"X-Callback-Url", URL) in [*world.upstream.sent[0].headers]
