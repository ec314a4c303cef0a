"""The same process in the representations that existing clients know: the azure one, and what stays as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from strangler.domain.exchange import Answer, Header
from strangler.domain.process import Effect, State
from strangler.domain.steps import Cancel, Doubt, Expire, Finish, Report, Result, Transition
from strangler.gateway.contracts import contract_of
from strangler.policy.model import ProcessPolicy
from tests.gateway.scene import ALICE, BASE, SENT, R, Scene, a_promise, field, finish

REPLY = Result(200, "application/json", 2, kept=True)


async def document(answer: Answer) -> dict[str, Any]:
    """The JSON that an answer holds."""
    assert isinstance(answer.body, bytes)
    told: dict[str, Any] = json.loads(answer.body)
    return told


def azure(**process: Any) -> Scene:
    return Scene(a_promise(contract="azure", **process))


@pytest.mark.parametrize(
    ("transitions", "word"),
    [
        ((), "NotStarted"),
        (SENT, "Running"),
        ((*SENT, Doubt("upstream-timeout", settling=False)), "Running"),
        ((*SENT, finish()), "Succeeded"),
        ((*SENT, finish(State.REJECTED, Effect.NONE)), "Failed"),
        ((*SENT, finish(State.FAILED, Effect.UNKNOWN)), "Failed"),
        ((Expire(),), "Failed"),
        ((Cancel(),), "Canceled"),
    ],
)
async def test_a_status_is_one_of_the_five_words_and_always_200(transitions: tuple[Transition, ...], word: str) -> None:
    scene = azure()
    process = await scene.process(*transitions)
    answer = await scene.ask("GET", process, "/status", ALICE)
    told = await document(answer)
    assert (answer.status, told["id"], told["status"]) == (200, process.id, word)
    assert ("error" in told) == (word in ("Failed", "Canceled"))
    assert ("resourceLocation" in told) == (word == "Succeeded")
    assert ("endTime" in told) == process.final == (field(answer, "Retry-After") is None)
    assert None not in told.values()


async def test_a_process_that_ran_well_says_where_its_result_lies_and_when_it_ran() -> None:
    scene = azure(id_field="claimSubmissionId", statuses={})
    process = await scene.process(*SENT, finish(status="APPROVED", result=REPLY))
    told = await document(await scene.ask("GET", process, "/status", ALICE))
    assert told["resourceLocation"] == f"{BASE}{R}/{process.id}/result"
    assert (told["claimSubmissionId"], told["domainStatus"]) == (process.id, "APPROVED")
    assert told["startTime"] == told["createdDateTime"] == "2027-01-15T08:00:00.000Z"


@pytest.mark.parametrize(
    ("end", "code", "message"),
    [
        (
            Finish(State.FAILED, Effect.UNKNOWN, None, "upstream-timeout"),
            "upstream-timeout",
            "it was failed; nobody knows what was done, do not send it again before somebody has looked",
        ),
        (
            Finish(State.REJECTED, Effect.NONE, "DECLINED", "too old a policy", REPLY._replace(status=422)),
            "DECLINED",
            "too old a policy; the legacy system answered 422; nothing was done, it is safe to try again",
        ),
        (
            Finish(State.REJECTED, Effect.NONE, "ABGELEHNT WEGEN ALTER", None, REPLY._replace(status=409)),
            "Rejected",
            "the legacy system answered 409; nothing was done, it is safe to try again",
        ),
    ],
)
async def test_an_error_has_a_code_and_says_whether_it_can_be_tried_again(end: Finish, code: str, message: str) -> None:
    scene = azure()
    process = await scene.process(*SENT, end)
    told = await document(await scene.ask("GET", process, "/status", ALICE))
    assert told["error"] == {"code": code, "message": message}


async def test_the_code_of_an_error_is_the_domains_word_for_the_state_where_no_rule_gave_another() -> None:
    scene = azure(statuses={"rejected": "DECLINED"})
    process = await scene.process(*SENT, finish(State.REJECTED, Effect.NONE))
    told = await document(await scene.ask("GET", process, "/status", ALICE))
    assert (told["domainStatus"], told["error"]["code"]) == ("DECLINED", "DECLINED")


async def test_progress_in_the_words_of_the_domain_stands_beside_the_five_words() -> None:
    scene = azure()
    process = await scene.process(*SENT, Report("ASSESSING", "with the assessor"))
    told = await document(await scene.ask("GET", process, "/status", ALICE))
    assert (told["status"], told["domainStatus"], told["domainReason"]) == ("Running", "ASSESSING", "with the assessor")


async def test_the_entity_tag_tells_the_representations_apart() -> None:
    scene = azure()
    process = await scene.process(*SENT)
    answer = await scene.ask("GET", process, "/status", ALICE)
    assert field(answer, "ETag") == 'W/"2-azure"'
    again = await scene.ask("GET", process, "/status", ALICE, (b"If-None-Match", b'W/"2-azure"'))
    assert again.status == 304
    other = await scene.ask("GET", process, "/status", ALICE, (b"If-None-Match", b'W/"2-native"'))
    assert other.status == 200


@pytest.mark.parametrize("rest", ["", "/status"])
async def test_the_request_id_of_a_poll_comes_back(rest: str) -> None:
    scene = azure()
    process = await scene.process(*SENT)
    sent: Header = (b"x-ms-client-request-id", b"0195-17")
    assert field(await scene.ask("GET", process, rest, ALICE, sent), "x-ms-client-request-id") == "0195-17"
    bad: Header = (b"x-ms-client-request-id", b"a b\xff")
    assert field(await scene.ask("GET", process, rest, ALICE, bad), "x-ms-client-request-id") is None


async def test_who_polls_the_location_is_told_202_and_then_where_the_result_lies() -> None:
    scene = azure()
    running, ended = await scene.process(*SENT), await scene.process(*SENT, finish())
    answer = await scene.ask("GET", running, "", ALICE)
    assert (answer.status, field(answer, "Location")) == (202, f"{BASE}{R}/{running.id}")
    answer = await scene.ask("GET", ended, "", ALICE)
    assert (answer.status, field(answer, "Location")) == (303, f"{BASE}{R}/{ended.id}/result")


async def test_an_acceptance_names_the_monitor_by_both_of_its_names() -> None:
    process = await azure().process(*SENT)
    status, headers = contract_of(ProcessPolicy(type="t", contract="azure")).accepted(process)
    fields = dict(headers)
    url = f"{BASE}{R}/{process.id}".encode()
    assert (status, fields[b"Location"]) == (202, url)
    assert fields[b"Operation-Location"] == fields[b"Azure-AsyncOperation"] == url + b"/status"
    native = dict(contract_of(ProcessPolicy(type="t")).accepted(process).headers)
    assert native.keys() == {b"Location", b"Link"}


async def test_a_list_shows_each_process_in_the_representation_that_it_was_promised_in() -> None:
    scene = azure()
    scene.promises.append(a_promise())
    first, second = await scene.process(*SENT), await scene.process(*SENT, promise=scene.promises[1])
    told = await document(await scene.list("", ALICE))
    listed = {one["id"]: one["status"] for one in told["processes"]}
    assert listed == {first.id: "Running", second.id: "PROCESSING"}


async def test_a_native_client_is_told_nothing_of_azure() -> None:
    scene = Scene()
    process = await scene.process(*SENT)
    answer = await scene.ask("GET", process, "/status", ALICE, (b"x-ms-client-request-id", b"1"))
    assert field(answer, "x-ms-client-request-id") is None
    assert (await document(answer))["state"] == "processing"
