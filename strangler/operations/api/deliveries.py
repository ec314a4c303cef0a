"""``/deliveries`` and ``/receivers``: who was told what, when, and with what answer; put back, paused, resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from strangler.domain.delivery import DeliveryState, parse_delivery_id
from strangler.engine.deliver import Deliverer
from strangler.engine.redrive import Redriver
from strangler.operations.api import views
from strangler.operations.api.endpoint import Answered, Asked, Done, Endpoint, Parameter, Refusal, Role, Told
from strangler.operations.api.schemas import (
    COUNT,
    ID,
    INSTANT,
    INSTANT_PARAMETER,
    LIMIT_SCHEMA,
    TEXT,
    TRUTH,
    a_list,
    an_object,
    one_of,
    read_id,
    read_instant,
    read_limit,
    read_text,
)
from strangler.operations.api.views import at, known
from strangler.policy.callback_url import parse_callback_url
from strangler.policy.receivers import Receiver
from strangler.ports import Clock, Deliveries, DeliveryKey, DeliveryQuery, DeliveryTotal, ReceiverPause

_URL_MOST = 2048
_STATES = [state.value for state in DeliveryState]

_PAUSE = an_object({"since": INSTANT, "who": TEXT, "why": TEXT}, {"url": TEXT})
RECEIVER = an_object(
    {"name": TEXT, "known": TRUTH, "pauses": a_list(_PAUSE), "pending": COUNT, "held": COUNT, "dead": COUNT},
    {"url": TEXT, "allow": a_list(TEXT), "oldestDueAt": INSTANT, "restsUntilAt": INSTANT, "wasPaused": TRUTH},
)
_FILTER = {
    "receiver": {**TEXT, "minLength": 1, "maxLength": 200},
    "process": ID,
    "url": {**TEXT, "minLength": 1, "maxLength": _URL_MOST},
    "state": {"type": "array", "items": one_of(["dead", "delivered", "pending"]), "minItems": 1, "uniqueItems": True},
    "createdAfter": INSTANT_PARAMETER,
    "createdBefore": INSTANT_PARAMETER,
}


class DeliveryDesk(NamedTuple):
    """What the endpoints reach."""

    deliveries: Deliveries
    deliverer: Deliverer
    redriver: Redriver
    receivers: Callable[[], Mapping[str, Receiver]]  # of the policy in force
    clock: Clock


def endpoints(desk: DeliveryDesk) -> tuple[Endpoint, ...]:
    """The endpoints of this module."""
    return (*_deliveries(desk), *_receivers(desk))


def _deliveries(desk: DeliveryDesk) -> tuple[Endpoint, ...]:
    order = partial(Endpoint, method="POST", role=Role.OPERATOR, group="deliveries")
    return (
        Endpoint(
            method="GET",
            path="/deliveries",
            name="listDeliveries",
            about="Who was to be told what, those of the newest processes first.",
            group="deliveries",
            handle=partial(_list, desk),
            parameters=_PARAMETERS,
            answers={
                200: Answered(
                    "A page; with a cursor there may be more",
                    an_object({"deliveries": a_list(views.DELIVERY)}, {"cursor": TEXT}),
                )
            },
            problems=("store-unavailable",),
        ),
        Endpoint(
            method="GET",
            path="/deliveries/{id}",
            name="getDelivery",
            about="One delivery with its log: every attempt, when, where to, and what was answered.",
            group="deliveries",
            handle=partial(_one, desk),
            answers={200: Answered("The delivery", views.DELIVERY_WITH_LOG)},
            problems=("no-such-delivery", "store-unavailable"),
        ),
        order(
            path="/deliveries/{id}/redrive",
            name="redriveDelivery",
            about="Sends it again under its old name, whatever became of it, unless its receiver is paused.",
            handle=partial(_redrive, desk),
            about_process=_process_of_delivery,
            answers={200: Answered("The delivery, as it is now", views.DELIVERY)},
            problems=("no-such-delivery", "store-unavailable"),
        ),
        order(
            path="/deliveries/redrive",
            name="redriveDeliveries",
            about="Sends again what a filter finds; without a state, the dead letters. One of receiver, process, url, "
            "createdAfter has to be there.",
            body=_FILTER,
            handle=partial(_redrive_many, desk),
            about_process=_process_of_filter,
            answers={200: Answered("How many were put back", an_object({"redriven": COUNT}))},
            problems=("bad-request", "no-such-receiver", "store-unavailable"),
        ),
    )


def _receivers(desk: DeliveryDesk) -> tuple[Endpoint, ...]:
    order = partial(
        Endpoint,
        method="POST",
        role=Role.OPERATOR,
        group="deliveries",
        body={"url": {**TEXT, "minLength": 1, "maxLength": _URL_MOST}},
        answers={200: Answered("The receiver, as it is now", RECEIVER)},
        problems=("bad-request", "no-such-receiver", "store-unavailable"),
    )
    return (
        Endpoint(
            method="GET",
            path="/receivers",
            name="listReceivers",
            about="Receivers of callbacks, with what waits for each, and who is paused.",
            group="deliveries",
            handle=partial(_list_receivers, desk),
            answers={200: Answered("The receivers", an_object({"receivers": a_list(RECEIVER)}))},
            problems=("store-unavailable",),
        ),
        order(
            path="/receivers/{name}/pause",
            name="pauseReceiver",
            about="Nothing is sent to it from now on, or to one URL of it; what is for it is held, nothing is dropped.",
            handle=partial(_pause, desk),
        ),
        order(
            path="/receivers/{name}/resume",
            name="resumeReceiver",
            about="It is called again, with what was held first.",
            handle=partial(_resume, desk),
        ),
    )


# ── Deliveries ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _read_states(value: str) -> tuple[DeliveryState, ...]:
    try:
        return tuple(dict.fromkeys(DeliveryState(word) for word in value.split(",")))
    except ValueError:
        raise ValueError(f"expected some of {', '.join(_STATES)}, with commas between") from None


def _read_key(value: str) -> DeliveryKey:
    key = parse_delivery_id(value)
    if key is None:
        raise ValueError("expected the id of a delivery, as the page before gave it")
    return key


_PARAMETERS = (
    Parameter(name="receiver", about="the name of a receiver", schema=TEXT, read=read_text()),
    Parameter(name="process", about="those about one process", schema=ID, read=read_id),
    Parameter(name="url", about="as a caller named it", schema=TEXT, read=read_text(_URL_MOST)),
    Parameter(name="state", about=f"some of {', '.join(_STATES)}, with commas between", schema=TEXT, read=_read_states),
    Parameter(name="createdAfter", about="made at this instant, or later", schema=INSTANT_PARAMETER, read=read_instant),
    Parameter(name="createdBefore", about="made before this instant", schema=INSTANT_PARAMETER, read=read_instant),
    Parameter(name="limit", about="of a page", schema=LIMIT_SCHEMA, read=read_limit),
    Parameter(name="cursor", about="as the page before gave it", schema=TEXT, read=_read_key),
)


async def _list(desk: DeliveryDesk, asked: Asked) -> Told:
    given = asked.query
    query = DeliveryQuery(
        given.get("receiver"),
        given.get("url"),
        given.get("state", ()),
        given.get("process"),
        given.get("createdAfter"),
        given.get("createdBefore"),
        given.get("cursor"),
        given.get("limit", DeliveryQuery().limit),
    )
    found = await desk.deliveries.find(query)
    document: dict[str, Any] = {"deliveries": [views.delivery(one) for one in found]}
    if len(found) == query.limit:
        document["cursor"] = found[-1].id
    return Done(document)


async def _one(desk: DeliveryDesk, asked: Asked) -> Told:
    key = parse_delivery_id(asked.path["id"])
    found = await desk.deliveries.log(key) if key is not None else None
    if found is None:
        return _NO_DELIVERY
    delivery, log = found
    return Done(views.delivery_with_log(delivery, log))


async def _redrive(desk: DeliveryDesk, asked: Asked) -> Told:
    key = parse_delivery_id(asked.path["id"])
    back = await desk.redriver.one(key, asked.who, asked.body["why"]) if key is not None else None
    return Done(views.delivery(back)) if back is not None else _NO_DELIVERY


async def _process_of_delivery(asked: Asked) -> str | None:
    key = parse_delivery_id(asked.path["id"])
    return key[0] if key is not None else None


async def _process_of_filter(asked: Asked) -> str | None:
    found: str | None = asked.body.get("process")
    return found


async def _redrive_many(desk: DeliveryDesk, asked: Asked) -> Told:
    given = asked.body
    try:
        after, before = (read_instant(given[name]) if name in given else None for name in _BOUNDS)
    except ValueError as error:
        return Refusal("bad-request", str(error))
    states = [DeliveryState(state) for state in given.get("state", ["dead"])]
    query = DeliveryQuery(given.get("receiver"), given.get("url"), states, given.get("process"), after, before)
    if (query.receiver, query.url, query.process_id, after) == (None, None, None, None):
        return Refusal("bad-request", "expected at least one of receiver, process, url, createdAfter")
    count = await desk.redriver.many(query, asked.who, given["why"])
    if not count and query.receiver is not None and not await _is_known(desk, query.receiver):
        return _NO_RECEIVER
    return Done({"redriven": count}, note=f"{count} put back")


_BOUNDS = ("createdAfter", "createdBefore")
_NO_DELIVERY = Refusal("no-such-delivery", "there is no delivery of this id")


# ── Receivers ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _list_receivers(desk: DeliveryDesk, asked: Asked) -> Told:
    totals = await desk.deliveries.totals()
    return Done({"receivers": [_receiver(desk, name, totals) for name in sorted(_names(desk, totals))]})


def _names(desk: DeliveryDesk, totals: Iterable[DeliveryTotal]) -> set[str]:
    """Of the policy in force, of what waits or lies dead, and of pauses."""
    pauses = desk.deliverer.pauses
    return {*desk.receivers(), *(total.receiver for total in totals), *(pause.receiver for pause in pauses)}


async def _is_known(desk: DeliveryDesk, name: str) -> bool:
    return name in _names(desk, await desk.deliveries.totals())


async def _pause(desk: DeliveryDesk, asked: Asked) -> Told:
    name, body = asked.path["name"], asked.body
    if name not in desk.receivers():
        return _NO_RECEIVER
    url = _as_stored(body["url"]) if "url" in body else None
    if url is not None and not await _is_called_at(desk, desk.receivers()[name], url):
        return Refusal("bad-request", f"{name} is not called at this URL, and nothing is left for it there")
    await desk.deliverer.pause(ReceiverPause(name, url, desk.clock.now(), asked.who, body["why"]))
    return await _as_it_is(desk, name)


async def _resume(desk: DeliveryDesk, asked: Asked) -> Told:
    name = asked.path["name"]
    # Whoever left the policy while it was paused can be resumed all the same.
    if name not in desk.receivers() and all(pause.receiver != name for pause in desk.deliverer.pauses):
        return _NO_RECEIVER
    url = _as_stored(asked.body["url"]) if "url" in asked.body else None
    paused = await desk.deliverer.resume(name, url, asked.who, asked.body["why"])
    return await _as_it_is(desk, name, wasPaused=paused)


def _as_stored(url: str) -> str:
    """A URL as it is kept where a caller names it; what is none stays as it is."""
    try:
        return str(parse_callback_url(url))
    except ValueError:
        return url


async def _is_called_at(desk: DeliveryDesk, receiver: Receiver, url: str) -> bool:
    try:
        if receiver.takes(parse_callback_url(url)):
            return True
    except ValueError:
        pass  # it may be one of an earlier policy
    return bool(await desk.deliveries.find(DeliveryQuery(receiver.name, url, limit=1)))


async def _as_it_is(desk: DeliveryDesk, name: str, **more: bool) -> Told:
    totals = await desk.deliveries.totals()
    return Done({**_receiver(desk, name, totals), **more})


_NO_RECEIVER = Refusal(
    "no-such-receiver", "the policy in force has no receiver of this name, and nothing is left for one"
)


def _receiver(desk: DeliveryDesk, name: str, totals: Iterable[DeliveryTotal]) -> dict[str, Any]:
    receiver, rests_until = desk.receivers().get(name), desk.deliverer.rests().get(name)
    counts = {total.state: total for total in totals if total.receiver == name}
    pending = counts.get(DeliveryState.PENDING)
    return {
        "name": name,
        "known": receiver is not None,
        "pauses": [
            {"since": at(pause.at), "who": pause.who, "why": pause.why, **known((("url", pause.url),))}
            for pause in desk.deliverer.pauses
            if pause.receiver == name
        ],
        **{
            state.value: counts[state].deliveries if state in counts else 0
            for state in (DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DEAD)
        },
        **known(
            (
                ("url", receiver.url if receiver is not None else None),
                (
                    "allow",
                    [str(origin) for origin in receiver.allow] if receiver is not None and receiver.allow else None,
                ),
                ("oldestDueAt", at(pending.oldest_due_at) if pending is not None else None),
                ("restsUntilAt", at(rests_until) if rests_until is not None else None),
            )
        ),
    }
