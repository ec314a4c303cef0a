"""Who is called back for a process, and whose a URL is that a caller names."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from strangler.domain.delivery import Subscription
from strangler.policy.callback_url import parse_allowed_origin
from strangler.policy.receivers import (
    CallbackNotAllowed,
    CallbackPolicy,
    Receiver,
    SigningKey,
    choose,
    subscriptions,
)


def allowing(name: str, *origins: str, callers: tuple[str, ...] = ()) -> Receiver:
    """A receiver whose URL callers name."""
    return Receiver(name=name, allow=tuple(parse_allowed_origin(origin) for origin in origins), callers=callers)


def fixed(name: str, url: str, callers: tuple[str, ...] = ()) -> Receiver:
    """A receiver with a URL of its own."""
    return Receiver(name=name, url=url, callers=callers)


def table(*receivers: Receiver) -> dict[str, Receiver]:
    """Receivers by name."""
    return {receiver.name: receiver for receiver in receivers}


def test_the_one_receiver_that_takes_a_url_is_chosen() -> None:
    candidates = [allowing("a", "https://*.a.example"), allowing("b", "https://b.example", "https://c.example")]
    receiver, url = choose(candidates, "HTTPS://C.example/x?y", None)
    assert (receiver.name, str(url)) == ("b", "https://c.example/x?y")


@pytest.mark.parametrize(
    ("named", "caller", "said"),
    [
        ("https://d.example/", None, "no receiver of this route takes https://d.example"),
        ("https://a.example:444/secret?token=x", None, "no receiver of this route takes https://a.example:444"),
        ("http://a.example/", None, "no receiver of this route takes http://a.example"),
        ("https://both.example/", None, "more than one receiver of this route takes https://both.example"),
        ("https://p.example/", None, "https://p.example is not for this caller to name"),
        ("https://p.example/", "other", "https://p.example is not for this caller to name"),
        ("a.example", None, "this URL cannot be called back: expected a URL that begins with https://"),
        ("https://u:secret@a.example/", None, "this URL cannot be called back: it holds credentials"),
        ("https://fixed.example/", None, "no receiver of this route takes https://fixed.example"),
    ],
)
def test_what_is_not_exactly_one_receivers_is_refused_without_quoting_more_than_the_origin(
    named: str, caller: str | None, said: str
) -> None:
    candidates = [
        allowing("a", "https://a.example", "https://both.example"),
        allowing("b", "https://both.example"),
        allowing("p", "https://p.example", callers=("partner-*",)),
        fixed("f", "https://fixed.example/"),
    ]
    with pytest.raises(CallbackNotAllowed) as raised:
        choose(candidates, named, caller)
    assert str(raised.value) == said
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("https://10.1.0.1/", None),
        ("http://10.1.0.1/", None),
        ("https://8.8.8.8/", None),
        ("http://8.8.8.8/", "8.8.8.8 is outside of `networks`, and plain http is for these only"),
        ("https://10.2.0.1/", "10.2.0.1 is a private address"),
        ("https://[::ffff:10.2.0.1]/", f"{ip_address('::ffff:10.2.0.1')} is a private address"),
        ("https://169.254.169.254/", "169.254.169.254 is where a cloud tells machines their secrets"),
        ("https://127.1/", "this URL cannot be called back: its host is an IPv4 address in another form than four"),
    ],
)
def test_an_address_that_may_not_be_called_is_refused_when_it_is_named(named: str, said: str | None) -> None:
    receiver = replace(allowing("a", "https://*", "http://*"), networks=(ip_network("10.1.0.0/16"),))
    if said is None:
        assert str(choose([receiver], named, None)[1]) == named
        return
    with pytest.raises(CallbackNotAllowed) as raised:
        choose([receiver], named, None)
    assert str(raised.value).startswith(said)


def test_callers_part_receivers_of_one_origin() -> None:
    candidates = [
        allowing("one", "https://h.example", callers=("one-*",)),
        allowing("two", "https://h.example", callers=("two", "2*")),
    ]
    assert choose(candidates, "https://h.example/", "one-17")[0].name == "one"
    assert choose(candidates, "https://h.example/", "two")[0].name == "two"
    assert choose(candidates, "https://h.example/", "22")[0].name == "two"
    with pytest.raises(CallbackNotAllowed):
        choose(candidates, "https://h.example/", "two-1")


def test_receivers_with_a_url_are_told_of_every_process_of_their_callers() -> None:
    receivers = table(
        fixed("all", "https://all.example/"),
        fixed("some", "https://some.example/", callers=("partner-*",)),
        allowing("named", "https://*.example"),
        fixed("elsewhere", "https://elsewhere.example/"),
    )
    policy = CallbackPolicy(receivers=("all", "some", "named", "gone"))
    assert subscriptions(policy, receivers, None, None) == (Subscription("all", None),)
    assert subscriptions(policy, receivers, None, "partner-1") == (
        Subscription("all", None),
        Subscription("some", None),
    )
    assert subscriptions(policy, receivers, "https://x.example", "other") == (
        Subscription("all", None),
        Subscription("named", "https://x.example/"),
    )
    with pytest.raises(CallbackNotAllowed):
        subscriptions(policy, receivers, "https://x.org", "other")


def test_a_key_shows_nothing_of_itself() -> None:
    key = SigningKey(b"very secret octets")
    for text in (repr(key), str(key), f"{key}", repr(fixed("f", "https://f.example/")), repr([key])):
        assert "secret oct" not in text
    assert key == copy.deepcopy(key) == pickle.loads(pickle.dumps(key))
    assert key != SigningKey(b"other")
    assert key != b"very secret octets"
    assert len({key, SigningKey(b"very secret octets")}) == 1
