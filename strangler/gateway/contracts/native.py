"""``native``: the status document as docs/http.md has it."""

from __future__ import annotations

from strangler.domain.process import Process
from strangler.engine.document import status_document
from strangler.gateway.contracts.contract import Contract
from strangler.policy.model import ProcessPolicy


class Native(Contract):
    """The contract of this project."""

    name = "native"

    def document(self, process: Process, policy: ProcessPolicy, *, may_cancel: bool, history: bool = True) -> bytes:
        """See `Contract.document`."""
        return status_document(process, policy, may_cancel=may_cancel, history=history)
