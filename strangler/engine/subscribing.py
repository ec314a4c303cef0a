"""Who is told of a process: the receivers of its route, and the one whose URL the caller names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from strangler.domain.delivery import write_subscriptions
from strangler.domain.exchange import Request
from strangler.engine.aside import beside
from strangler.engine.content import JsonBody
from strangler.engine.keys import request_document
from strangler.policy.expressions import ExpressionError
from strangler.policy.receivers import CallbackNotAllowed, CallbackPolicy, Receiver, subscriptions


async def named_url(
    policy: CallbackPolicy,
    request: Request,
    parameters: Mapping[str, str],
    caller_name: str | None,
    content: JsonBody,
) -> str | None:
    """The URL that a caller names; None: none. The body is only read where the policy looks for it there.

    Raises:
        CallbackNotAllowed: what stands where the URL should is no text.
    """
    if policy.header is not None and (value := request.field(policy.header.encode())):
        return value.decode("latin-1")
    if policy.body is None:
        return None
    parsed = await content.for_expressions()
    document = request_document(request, parameters, parsed.value, caller_name)
    try:
        found = await beside(partial(policy.body.evaluate, document), parsed.size, hooks=False)
    except ExpressionError as error:
        raise CallbackNotAllowed(f"the callback cannot be read from the body: {error}") from None
    if found is None or found == "":
        return None
    if not isinstance(found, str):
        raise CallbackNotAllowed("the callback in the body is no text")
    return found


def subscribed(
    policy: CallbackPolicy, receivers: Mapping[str, Receiver], named: str | None, caller_name: str | None
) -> str | None:
    """The subscriptions as a process carries them; what they are told of is settled with it.

    Raises:
        CallbackNotAllowed: the URL that the caller named is not under exactly one receiver of the route.
    """
    return write_subscriptions(subscriptions(policy, receivers, named, caller_name))
