"""The status document, to the letter of docs/http.md."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from strangler.domain.process import Effect, Process, PublicState, State
from strangler.domain.steps import Accept, Claim, Doubt, Finish, Result
from strangler.domain.transitions import apply
from strangler.engine.document import history_document, keeps_history, status_document
from strangler.policy.model import ProcessPolicy

AT = 1_795_255_200_000  # 2026-11-21T10:00:00Z
ID = "0195b1a2-7f00-7abc-8def-0123456789ab"
URL = f"https://public.example/v1/claim-submissions/{ID}"
POLICY = ProcessPolicy(type="ClaimSubmission", resource="/claim-submissions")


def accepted(**fields: Any) -> Process:
    """A process just accepted."""
    draft = Process(
        **{
            "id": ID,
            "route": "submit-claim",
            "type": "ClaimSubmission",
            "promise": "p",
            "base": "https://public.example/v1",
            "resource": "/claim-submissions",
            "method": "POST",
            "correlation_id": "corr-1",
            "created_at": AT,
            "deadline_at": AT + 86_400_000,
            "retain": 1,
            "promised": True,
            **fields,
        }
    )
    return apply(None, Accept(draft), AT).process


def sent(process: Process) -> Process:
    return apply(process, Claim("w"), AT + 5).process


def document(process: Process, policy: ProcessPolicy = POLICY, *, may_cancel: bool = True) -> dict[str, Any]:
    """The document, read back."""
    found: dict[str, Any] = json.loads(status_document(process, policy, may_cancel=may_cancel))
    return found


def test_a_history_is_kept_from_the_end_or_from_the_lapse_of_the_key() -> None:
    def kept(effect: Effect, **fields: Any) -> list[bool]:
        process = apply(sent(accepted(**fields)), Finish(State.FAILED, effect), AT + 10).process
        return [keeps_history(process, at) for at in (AT + 19, AT + 20, AT + 119, AT + 120)]

    assert kept(Effect.APPLIED, retain_history=10) == [True, False, False, False]
    keyed = {"retain_history": 10, "key_lookup": "k", "key_life": 100}
    assert kept(Effect.APPLIED, **keyed) == [True, True, True, False]
    assert kept(Effect.NONE, **keyed) == [True, False, False, False]
    assert all(kept(Effect.APPLIED))
    assert keeps_history(accepted(retain_history=10), AT + 1000)


def test_the_document_of_a_new_process_is_that_of_the_contract() -> None:
    assert document(accepted(key="8e03978e-40d5")) == {
        "id": ID,
        "type": "ClaimSubmission",
        "state": "received",
        "status": "RECEIVED",
        "createdAt": "2026-11-21T10:00:00.000Z",
        "updatedAt": "2026-11-21T10:00:00.000Z",
        "deadlineAt": "2026-11-22T10:00:00.000Z",
        "correlationId": "corr-1",
        "idempotencyKey": "8e03978e-40d5",
        "version": 1,
        "links": {
            "self": URL,
            "status": f"{URL}/status",
            "result": f"{URL}/result",
            "history": f"{URL}/history",
            "events": f"{URL}/events",
            "socket": f"{URL.replace('https:', 'wss:')}/socket",
            "cancel": URL,
        },
    }


def test_the_document_of_an_ended_process_is_that_of_the_contract() -> None:
    end = Finish(
        State.COMPLETED, Effect.APPLIED, "APPROVED", "within the limit", Result(201, "application/json", 312, True)
    )
    policy = ProcessPolicy(type="ClaimSubmission", id_field="claimSubmissionId", resource="/claim-submissions")

    text = status_document(apply(sent(accepted()), end, AT + 2345).process, policy, may_cancel=True)

    assert list(json.loads(text).items()) == [
        ("id", ID),
        ("claimSubmissionId", ID),
        ("type", "ClaimSubmission"),
        ("state", "completed"),
        ("status", "APPROVED"),
        ("reason", "within the limit"),
        ("effect", "applied"),
        ("createdAt", "2026-11-21T10:00:00.000Z"),
        ("updatedAt", "2026-11-21T10:00:02.345Z"),
        ("finishedAt", "2026-11-21T10:00:02.345Z"),
        ("deadlineAt", "2026-11-22T10:00:00.000Z"),
        ("correlationId", "corr-1"),
        ("version", 3),
        ("result", {"status": 201, "contentType": "application/json", "length": 312}),
        (
            "links",
            {
                "self": URL,
                "status": f"{URL}/status",
                "result": f"{URL}/result",
                "history": f"{URL}/history",
                "events": f"{URL}/events",
                "socket": f"{URL.replace('https:', 'wss:')}/socket",
            },
        ),
    ]


def test_the_link_to_cancel_is_there_while_it_can_be_and_for_who_may() -> None:
    new = accepted()

    assert "cancel" in document(new)["links"]
    assert "cancel" not in document(new, may_cancel=False)["links"]
    assert "cancel" not in document(sent(new))["links"]


def test_the_domain_has_its_own_words_for_states_and_an_outcome_has_the_last_word() -> None:
    policy = ProcessPolicy(
        type="T",
        statuses={PublicState.PROCESSING: "ASSESSING", PublicState.REJECTED: "DECLINED", PublicState.FAILED: ""},
    )
    process = sent(accepted())

    assert document(process, policy)["status"] == "ASSESSING"
    rejected = apply(process, Finish(State.REJECTED, Effect.NONE), AT).process
    assert document(rejected, policy)["status"] == "DECLINED"
    assert document(rejected._replace(status="TOO_LATE"), policy)["status"] == "TOO_LATE"
    assert document(accepted(), policy)["status"] == "RECEIVED"


def test_who_waits_for_a_person_is_unconfirmed_and_of_unknown_effect() -> None:
    doubtful = apply(sent(accepted()), Doubt("interrupted", settling=False), AT).process
    found = document(doubtful)

    assert (found["state"], found["status"], found["effect"]) == ("unconfirmed", "UNCONFIRMED", "unknown")
    assert "finishedAt" not in found


def test_a_reply_without_a_content_type_has_none() -> None:
    end = Finish(State.COMPLETED, Effect.APPLIED, result=Result(204, None, 0, True))

    assert document(apply(sent(accepted()), end, AT).process)["result"] == {"status": 204, "length": 0}


@given(
    st.text(st.characters(codec=None)),
    st.text(),
    st.text(),
    st.one_of(st.none(), st.text()),
)
def test_whatever_a_text_holds_the_document_is_json_and_holds_it(
    reason: str, correlation: str, type_: str, key: str | None
) -> None:
    process = accepted(correlation_id=correlation, type=type_, key=key)._replace(reason=reason, status=reason or None)

    found = document(process, ProcessPolicy(type=type_, id_field='a"b'))

    assert (found["reason"], found["correlationId"], found["type"]) == (reason, correlation, type_)
    assert found.get("idempotencyKey") == key
    assert None not in found.values()
    assert found['a"b'] == ID


def test_the_history_names_every_public_change() -> None:
    first = accepted()
    second = sent(first)
    third = apply(second, Finish(State.FAILED, Effect.UNKNOWN, reason="upstream-timeout"), AT + 60_000).process

    assert json.loads(history_document(ID, [first, second, third], POLICY)) == {
        "id": ID,
        "history": [
            {"version": 1, "changedAt": "2026-11-21T10:00:00.000Z", "state": "received", "status": "RECEIVED"},
            {"version": 2, "changedAt": "2026-11-21T10:00:00.005Z", "state": "processing", "status": "PROCESSING"},
            {
                "version": 3,
                "changedAt": "2026-11-21T10:01:00.000Z",
                "state": "failed",
                "status": "FAILED",
                "reason": "upstream-timeout",
            },
        ],
    }
