"""``azure``: what clients of Azure's long-running operations follow, azure-core and @azure/core-lro among them.

``Operation-Location`` and, for Azure Resource Manager's clients, ``Azure-AsyncOperation`` name the status monitor. It
is always 200 with a string ``status`` out of five; ``resourceLocation`` says where the result lies, also for PUT, whose
clients would otherwise ask the original URL, which is the legacy system's. Sources: Microsoft REST API guidelines,
"Long-running operations"; Azure Resource Manager RPC, "Asynchronous operations".
"""

from __future__ import annotations

import json
import re
from typing import Any

from strangler.domain import instant
from strangler.domain.exchange import Header, Request
from strangler.domain.process import Effect, Process, PublicState
from strangler.engine.document import process_url, status_word
from strangler.gateway.contracts.contract import Contract, Standing
from strangler.policy.model import ProcessPolicy

# Any other word than the last three means "goes on" to every client; these two are the ones that the guidelines name.
_WORDS = {
    PublicState.RECEIVED: "NotStarted",
    PublicState.PROCESSING: "Running",
    PublicState.UNCONFIRMED: "Running",
    PublicState.COMPLETED: "Succeeded",
    PublicState.REJECTED: "Failed",
    PublicState.FAILED: "Failed",
    PublicState.EXPIRED: "Failed",
    PublicState.CANCELLED: "Canceled",
}
_CODES = {
    PublicState.REJECTED: "Rejected",
    PublicState.FAILED: "UpstreamFailed",
    PublicState.EXPIRED: "Expired",
    PublicState.CANCELLED: "Canceled",
}
_AGAIN = {
    Effect.NONE: "nothing was done, it is safe to try again",
    Effect.APPLIED: "it was done",
    Effect.UNKNOWN: "nobody knows what was done, do not send it again before somebody has looked",
}
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_REQUEST_ID = b"x-ms-client-request-id"
_PRINTABLE = re.compile(rb"[\x21-\x7e]{1,128}")


class Azure(Contract):
    """The contract of Azure's long-running operations."""

    name = "azure"
    taken = ("x-ms-client-request-id",)
    shown = ("Operation-Location", "Azure-AsyncOperation", "x-ms-client-request-id")

    def document(self, process: Process, policy: ProcessPolicy, *, may_cancel: bool, history: bool = True) -> bytes:
        """See `Contract.document`. Cancelling has no place in it; ``DELETE`` of the process does it all the same."""
        state = process.public_state
        document: dict[str, Any] = {
            "id": process.id,
            "status": _WORDS[state],
            "createdDateTime": instant.to_text(process.created_at),
            "lastActionDateTime": instant.to_text(process.updated_at),
            "startTime": instant.to_text(process.created_at),
            "domainStatus": status_word(process.status, state, policy),
        }
        if policy.id_field is not None:
            document.setdefault(policy.id_field, process.id)
        if process.finished_at is not None:
            document["endTime"] = instant.to_text(process.finished_at)
        if state is PublicState.COMPLETED:
            document["resourceLocation"] = f"{process_url(process)}/result"
        elif state in _CODES:
            document["error"] = _error(process, state, policy)
        elif process.reason is not None:
            document["domainReason"] = process.reason
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")

    def accepted(self, process: Process) -> Standing:
        """See `Contract.accepted`. Clients that know the status monitor take it; all others, the location."""
        status, headers = super().accepted(process)
        monitor = f"{process_url(process)}/status".encode()
        return Standing(status, (*headers, (b"Operation-Location", monitor), (b"Azure-AsyncOperation", monitor)))

    def echoed(self, request: Request) -> tuple[Header, ...]:
        """See `Contract.echoed`: by it a client's log and ours are brought together."""
        value = request.field(_REQUEST_ID)
        if value is None or _PRINTABLE.fullmatch(value) is None:
            return ()
        return ((_REQUEST_ID, value),)


def _error(process: Process, state: PublicState, policy: ProcessPolicy) -> dict[str, str]:
    """``error``: a word of ours or the domain's as the code, and whether it can be tried again."""
    reason = process.reason
    word = process.status or policy.statuses.get(state) or _CODES[state]
    code = reason if reason is not None and _CODE.fullmatch(reason) else word
    said = f"the legacy system answered {process.result_status}" if process.has_result else f"it was {state}"
    if reason is not None and reason != code:
        said = f"{reason}; {said}"
    if process.effect is not None:
        said += f"; {_AGAIN[process.effect]}"
    return {"code": code if _CODE.fullmatch(code) else _CODES[state], "message": said}
