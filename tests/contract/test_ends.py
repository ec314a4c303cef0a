"""*The process* in docs/http.md: what is at its result once it has ended without a reply, or is not kept."""

from __future__ import annotations

from tests.contract.conftest import Counter
from tests.harness.waiting import eventually


async def test_expired_is_504_and_nothing_was_sent(counter: Counter) -> None:
    accepted = await counter.post("/late")
    document = await counter.client.settled(accepted.json()["id"])
    assert (document["state"], document["effect"]) == ("expired", "none")
    result = await counter.client.request("GET", document["links"]["result"])
    assert (result.status, result.code, result.json()["effect"]) == (504, "expired", "none")


async def test_cancelled_is_410_and_a_second_cancellation_changes_nothing(counter: Counter) -> None:
    await counter.post("/one", script="delay=1")
    waits = await counter.post("/one")
    url = waits.json()["links"]["cancel"]
    cancelled = await counter.client.request("DELETE", url)
    again = await counter.client.request("DELETE", url)
    assert (cancelled.status, cancelled.json()["state"]) == (200, "cancelled")
    assert (again.status, again.json()) == (200, cancelled.json())
    result = await counter.client.request("GET", url + "/result")
    assert (result.status, result.code) == (410, "cancelled")


async def test_failed_without_a_reply_is_502_and_says_that_its_effect_is_unknown(counter: Counter) -> None:
    told = await counter.post("/gives-up", script="do=close")
    assert (told.status, told.code, told.headers["Strangler-Effect"]) == (502, "upstream-failed", "unknown")
    result = await counter.client.request("GET", told.json()["process"] + "/result")
    assert (result.status, result.code) == (502, "upstream-failed")


async def test_a_401_to_a_call_that_had_to_queue_says_that_the_credentials_expired(counter: Counter) -> None:
    at_once = await counter.post("/queue", script="status=401 delay=0.3")
    queued = await counter.post("/queue", script="status=401")
    document = await counter.client.settled(at_once.json()["id"])
    assert (document["state"], document.get("reason")) == ("rejected", None)
    document = await counter.client.settled(queued.json()["id"])
    assert (document["state"], document["reason"], document["effect"]) == ("failed", "credentials-expired", "none")


async def test_what_is_past_its_retention_is_410_and_then_404(counter: Counter) -> None:
    accepted = await counter.post("/brief")
    url = accepted.headers["Location"]
    codes: list[str | None] = []

    async def is_no_longer_known() -> bool:
        code = (await counter.client.request("GET", url + "/status")).code
        if not codes or codes[-1] != code:
            codes.append(code)
        return code == "no-such-process"

    await eventually(is_no_longer_known, 20, "the tombstone is gone")
    assert codes == [None, "no-longer-kept", "no-such-process"]
